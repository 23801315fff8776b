"""Hears the announcements of a run, and reads each record at once: what it read must stand there for ever.

A connection that breaks is made again; what was announced meanwhile is read by the next `look_again`.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import redis
from redis.exceptions import RedisError

from chatq_sandbox.verify.evidence import Change
from chatq_sandbox.verify.installation import KEYS, client

_AGAIN_S = 0.1
_AT_ONCE = 500


class Witness:
    """Listens on a thread of its own from the start to the end of the `with` block."""

    def __init__(self, url: str) -> None:
        self.announced: Counter[str] = Counter()
        """How often each job was said to be final."""
        self.announced_states: dict[str, str] = {}
        self.changes: list[Change] = []
        self._url = url
        self._first: dict[str, str] = {}
        self._again = threading.Event()
        self._over = threading.Event()
        self._reader = client(url)
        self._thread = threading.Thread(target=self._listen, name="witness", daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._reader.close()

    def stop(self) -> None:
        """Hear no more."""
        self._over.set()
        self._thread.join()

    def look_again(self) -> None:
        """Read all records that were read before, soon."""
        self._again.set()

    def see(self, records: Iterable[str]) -> None:
        """Compare records, as they are in the server, with what was read of them before. When all is over."""
        for record in records:
            self._compare(record)

    def _listen(self) -> None:
        channel = KEYS.done("")
        while not self._over.is_set():
            listener = client(self._url)
            try:
                with listener.pubsub(ignore_subscribe_messages=True) as announcements:
                    announcements.psubscribe(f"{channel}*")
                    while not self._over.is_set():
                        message = announcements.get_message(timeout=0.2)
                        if message is not None:
                            self._hear(message["channel"].removeprefix(channel), message["data"])
                        if self._again.is_set():
                            self._read(list(self._first))
                            self._again.clear()
            except (RedisError, OSError):
                time.sleep(_AGAIN_S)
            finally:
                listener.close()

    def _hear(self, job_id: str, state: str) -> None:
        self.announced[job_id] += 1
        before = self.announced_states.setdefault(job_id, state)
        if state != before:
            self.changes.append(Change(job_id, f"announced as {before}", f"announced as {state}"))
        self._read([job_id])

    def _read(self, ids: list[str]) -> None:
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            for job_id, record in zip(part, _values(self._reader, part), strict=True):
                if record is not None:
                    self._compare(record)
                elif job_id in self._first:
                    self.changes.append(Change(job_id, self._first[job_id], "gone"))

    def _compare(self, record: str) -> None:
        job_id = json.loads(record)["id"]
        before = self._first.setdefault(job_id, record)
        if record != before:
            self.changes.append(Change(job_id, before, record))


def _values(server: redis.Redis, ids: list[str]) -> list[Any]:
    return list(server.mget([KEYS.result(job_id) for job_id in ids]))
