"""A canary key for every source appears nowhere: not after successes, refusals that echo it, time-outs or crashes."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import pytest
import redis
from installation import WAIT_S, until
from odd_provider import ODD_KEY, OddProvider
from source_installation import NAMES, SourceInstallation, canary_of

TEAM, LOGIN_KEY = "d41b0e77a95b-of-the-north", "83c6f2105ef94a7d"
"""Secrets in headers of a connection's own: one written in its configuration, one from the environment."""
KEYS = [
    ODD_KEY,
    TEAM,
    LOGIN_KEY,
    *(canary_of(name, wrong=wrong) for name in NAMES for wrong in (False, True)),
]
_BODY = re.compile(r'\\?"body\\?": \\?"([A-Za-z0-9+/]+=*)\\?"')
LOGIN = "tester:not-a-key"


def stretches(key: str) -> list[str]:
    """What betrays a key: any eight of its characters in a row (every fourth start), and its base64."""
    plain = [key[start : start + 8] for start in range(3, len(key) - 7, 4)]
    return [*plain, *(base64.b64encode(key[shift:-4].encode()).decode()[:12] for shift in range(3))]


def betrayed(text: str) -> list[str]:
    """The keys that are found in a text, whole or in part."""
    return [key for key in KEYS if any(stretch in text for stretch in stretches(key))]


class Aftermath(NamedTuple):
    """What is left behind and what went by, after everything that can happen to a key."""

    installation: SourceInstallation
    records: str
    wire: str
    """Every command that the server was sent meanwhile: messages, events, announcements."""
    flower: str
    told: str
    """What the caller's commands and errors said."""
    pauses: str
    """Why connections are paused, and why jobs wait for them."""


class Wire:
    """Everything that is sent to a server, while it lasts."""

    def __init__(self, url: str) -> None:
        self.lines: list[str] = []
        self._client = redis.Redis.from_url(url, protocol=2)
        self._monitor = self._client.monitor()
        self._monitor.__enter__()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(redis.ConnectionError):  # the server has ended
            for command in self._monitor.listen():
                self.lines.append(command["command"])

    def end(self) -> None:
        """When the server has ended."""
        self._thread.join(WAIT_S)
        self._client.close()

    def until_quiet(self, marker: str) -> str:
        """All of it so far, and beside it what is in the bodies of messages and events."""
        self._client.publish("tests", marker)
        until(lambda: any(marker in line for line in reversed(self.lines)), "the end of what was sent")
        bodies = (base64.b64decode(body) for line in self.lines for body in _BODY.findall(line))
        return "\n".join([*self.lines, *(body.decode("utf-8", "replace") for body in bodies)])


class Flower:
    """`chatq flower` on a free port."""

    def __init__(self, installation: SourceInstallation) -> None:
        self._process = subprocess.Popen(
            [str(Path(sys.executable).with_name("chatq")), "flower", "--port", "0"],
            cwd=installation.folder,
            env={**installation.environ, "FLOWER_BASIC_AUTH": LOGIN},
            stdout=subprocess.PIPE,
            text=True,
        )

    @cached_property
    def url(self) -> str:
        """Where it listens, once it does."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rpartition(" ")[2].strip()

    def page(self, path: str) -> str:
        """One of its pages, or an answer of its API."""
        login = base64.b64encode(LOGIN.encode()).decode()
        with urlopen(
            Request(f"{self.url}{path}", headers={"authorization": f"Basic {login}"}), timeout=WAIT_S
        ) as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        """SIGTERM."""
        self._process.terminate()
        self._process.wait(WAIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


def heard(flower: Flower, installation: SourceInstallation) -> bool:
    """Whether Flower hears of a job made now."""
    job = installation.queue.enqueue("openai", "Say hi")
    installation.queue.wait(job.id, WAIT_S)
    return job.id in flower.page("/api/tasks")


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory, odd: OddProvider) -> Iterator[Aftermath]:
    """Successes, refusals, time-outs, a bug and a killed worker, with Flower watching."""
    keyed: dict[str, Any] = {
        "source": "custom", "model": "m", "api_key": "env:TEST_ODD_KEY", "retry": {"max_attempts": 1},
    }  # fmt: skip
    others = {
        "echo": {**keyed, "url": f"{odd.url}/echo-refusal/v1"},
        "echo-headers": {
            **keyed,
            "url": f"{odd.url}/echo-headers/v1",
            "api_key": None,
            "include_headers": {"X-Team": TEAM},
        },
        "silent": {**keyed, "url": f"{odd.url}/silent/v1", "timeout": {"connect": "0.3s", "total": "0.3s"}},
        "buggy": {**keyed, "url": f"{odd.url}/good/v1", "model": "buggy"},
        "unreachable": {**keyed, "url": "http://127.0.0.1:9/v1"},
    }
    folder = str(Path(__file__).parent / "fault_in_worker")
    with SourceInstallation(
        tmp_path_factory.mktemp("canary"),
        others=others,
        environ={
            "TEST_ODD_KEY": ODD_KEY,
            "CHATQ_CONNECTIONS__ECHO_HEADERS__INCLUDE_HEADERS__AUTHORIZATION": f"Bearer {LOGIN_KEY}",
            "PYTHONPATH": folder,
        },
        log={"format": "json", "level": "debug"},
    ) as installation:
        wire, queue = Wire(installation.url), installation.queue
        flower = Flower(installation)
        try:
            first = installation.start_worker(fresh=True)
            until(partial(heard, flower, installation), "Flower to hear: events that nobody hears are gone")
            jobs = [queue.enqueue(name, f"job:canary-{name} Say hi") for name in NAMES]
            jobs += [queue.enqueue(f"wrong-{name}", "Say hi") for name in NAMES]
            jobs += [queue.enqueue(name, "Say hi") for name in others]
            first.expect("fault in chatq")
            until(
                lambda: all(queue.get(job.id).attempts or queue.get(job.id).final for job in jobs),
                "the jobs to be tried",
            )
            installation.hold_answers()
            held = queue.enqueue("openai", "job:held Say hi")
            installation.await_in_flight(1)
            first.kill()
            second = installation.start_worker(fresh=True)
            second.expect("fault in chatq")
            installation.release_answers()
            told = [queue.check(name).model_dump_json() for name in others]
            told += [json.dumps(queue.models(name)) for name in ("openai", "wrong-claude")]
            actions = ("list", "check echo", "test echo", "check echo-headers", "test echo-headers")
            commands = ["status", f"why {jobs[-1].id}", *(f"connections {action}" for action in actions)]
            for ended in (installation.command(*words.split()) for words in commands):
                told.append(ended.stdout + ended.stderr)
            assert queue.wait(held.id, WAIT_S).state == "succeeded"
            pages = [flower.page(f"/api/task/info/{job.id}") for job in (*jobs[:3], *jobs[-4:])]
            pages += [flower.page(f"/task/{job.id}") for job in jobs[-4:]]
            pages += [
                flower.page(path)
                for path in ("/api/tasks", "/api/workers?refresh=1", "/workers", "/tasks", "/")
            ]
            yield Aftermath(
                installation,
                "\n".join(queue.get(job.id).model_dump_json() for job in (*jobs, held)),
                wire.until_quiet("the end of the wire"),
                "\n".join(pages),
                "\n".join(told),
                "\n".join([repr(queue.overview()), *(queue.why(job.id).model_dump_json() for job in jobs)]),
            )
        finally:
            flower.end()
    wire.end()


def test_the_search_finds_a_key_wherever_it_is_planted() -> None:
    for key in KEYS:
        assert betrayed(f"the key {key} is wrong") == [key]
        assert betrayed(f"the key {key[:14]}... is wrong") == [key]
        assert betrayed(base64.b64encode(f"x{key}".encode()).decode()) == [key]


def test_the_keys_were_really_used(aftermath: Aftermath, odd: OddProvider) -> None:
    assert f"Bearer {ODD_KEY}" in {
        asked.headers["authorization"] for asked in odd.asked_below("echo-refusal")
    }
    [*_, echoed] = odd.asked_below("echo-headers")
    assert (echoed.headers["x-team"], echoed.headers["authorization"]) == (TEAM, f"Bearer {LOGIN_KEY}")
    states = [json.loads(record)["state"] for record in aftermath.records.splitlines()]
    assert states[: len(NAMES)] == ["succeeded"] * len(NAMES)
    assert '"code":"internal"' in aftermath.records
    assert '"code":"timeout"' in aftermath.records
    assert states[len(NAMES) : 2 * len(NAMES)] == ["queued"] * len(NAMES)
    assert aftermath.records.count('"error_code":"unauthorized","counted":false') >= len(NAMES)
    assert "[key]" in aftermath.pauses
    assert "Team [header] may not, with [header]: [key] is unknown" in aftermath.records
    assert "Team [header] may not, with [header]: [key] is unknown" in aftermath.told


def test_no_key_is_in_a_record_or_an_error(aftermath: Aftermath) -> None:
    assert betrayed(aftermath.records) == []


def test_no_key_is_in_what_is_said_of_a_pause(aftermath: Aftermath) -> None:
    assert betrayed(aftermath.pauses) == []


def test_no_key_is_told_to_the_caller_but_the_ends_of_long_ones(aftermath: Aftermath) -> None:
    assert betrayed(aftermath.told) == []
    assert f"...{ODD_KEY[-4:]}" in aftermath.told


def test_no_key_is_in_redis(aftermath: Aftermath) -> None:
    dump = "\n".join(everything(aftermath.installation.redis))
    assert "chatq:settings" in dump
    assert betrayed(dump) == []


def test_no_key_is_in_what_the_server_writes_to_disk(aftermath: Aftermath) -> None:
    files = [path for path in aftermath.installation.data.rglob("*") if path.is_file()]
    history = "".join(path.read_bytes().decode("latin-1") for path in files)
    assert "chatq:result:" in history
    assert betrayed(history) == []


def test_no_key_is_in_a_message_an_event_or_an_announcement(aftermath: Aftermath) -> None:
    assert "task-succeeded" in aftermath.wire
    assert "chatq.complete" in aftermath.wire
    assert betrayed(aftermath.wire) == []


def test_no_key_is_in_flower(aftermath: Aftermath) -> None:
    assert "unauthorized: The provider answered 401." in aftermath.flower
    assert "internal: A fault in chatq: RuntimeError" in aftermath.flower
    assert betrayed(aftermath.flower) == []


def test_no_key_is_in_a_workers_log_at_debug_level(aftermath: Aftermath) -> None:
    logs = [worker.log for worker in aftermath.installation.workers]
    assert len(logs) == 2
    assert all('"level": "debug"' in log for log in logs)
    assert "fault in chatq" in logs[0]
    assert betrayed("\n".join(logs)) == []


def test_no_key_is_in_a_process_list(aftermath: Aftermath) -> None:
    worker = aftermath.installation.workers[-1]
    assert betrayed(Path(f"/proc/{worker.pid}/cmdline").read_text()) == []


def test_the_embedded_server_does_not_inherit_the_keys(aftermath: Aftermath) -> None:
    process = aftermath.installation.redis.info("server")["process_id"]
    assert betrayed(Path(f"/proc/{process}/environ").read_text()) == []


def everything(client: Any) -> Iterator[str]:
    """Every key of a server with its value."""
    readers = {
        "string": lambda key: client.get(key),
        "hash": lambda key: client.hgetall(key),
        "set": lambda key: client.smembers(key),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "list": lambda key: client.lrange(key, 0, -1),
        "stream": lambda key: client.xrange(key),
    }
    for key in client.scan_iter(count=1000):
        yield f"{key} {readers[client.type(key)](key)!r}"
