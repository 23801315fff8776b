"""A healthy installation, in which tests plant what operators get wrong: a real server, one registered worker."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
import redis

from chatq.cli.doctor import examine
from chatq.cli.doctor.finding import Finding
from chatq.contract.config_file import load_settings
from chatq.ledger.call import Call
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import Server
from servers import RealServer

T = TypeVar("T")

AS_IT_SHOULD_BE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory": "1gb",
    "maxmemory-policy": "noeviction",
}
CONNECTION = {
    "source": "custom",
    "url": "http://127.0.0.1:5000/v1",
    "model": "demo",
    "api_key": "env:TEST_KEY",
}


class World:
    """What doctor looks at. `new()` makes it healthy again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folder = folder
        self.server = RealServer(
            *(word for name, value in AS_IT_SHOULD_BE.items() for word in (f"--{name}", value))
        )
        self.server.start()
        self.redis: redis.Redis = self.server.client()
        self.redis.acl_setuser(
            "operator", enabled=True, nopass=True, keys=["*"], channels=["*"], commands=["+@all"]
        )
        self.patch = pytest.MonkeyPatch()
        self.until_the_end = ExitStack()
        self._number = 0
        self._asked = Server(lambda: self.server.url)

    def new(self) -> None:
        """As it should be, in a folder of its own: config.yaml, a worker that goes by it."""
        self.undo()
        self._number += 1
        self.folder = self._folder / str(self._number)
        self.folder.mkdir(mode=0o700)
        self.config: Path | None = self.folder / "config.yaml"
        for name in [name for name in os.environ if name.startswith("CHATQ_")]:
            self.patch.delenv(name)
        self.patch.setenv("TEST_KEY", "sk-canary-0123456789abcdef")
        self.write()
        self.published()
        self.worker("w1")

    def undo(self) -> None:
        """Take back what was planted."""
        self.until_the_end.close()
        self.patch.undo()
        self.redis.flushall()

    def close(self) -> None:
        self.undo()
        self._asked.close()
        self.redis.close()
        self.server.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    # What tests plant with

    def run(self, call: Call[T]) -> T:
        return self._asked.run(call)

    @property
    def ledger(self) -> Ledger:
        return Ledger("chatq")

    def write(
        self, *, connection: Mapping[str, Any] | None = None, url: str | None = None, **sections: Any
    ) -> None:
        """config.yaml, with `connection` more of the connection `sim`."""
        sections.setdefault("redis", {"url": url or self.server.url})
        sections.setdefault("connections", {"sim": {**CONNECTION, **(connection or {})}})
        sections.setdefault("worker", {"slots": 100})
        assert self.config is not None
        self.config.write_text(json.dumps(sections))
        self.config.chmod(0o600)

    def file(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A file beside config.yaml."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def worker(self, name: str, **facts: Any) -> None:
        """Register a worker that says this of itself."""
        facts = {"version": version("chatq"), "settings": "one", "host": "here", "pid": 1, **facts}
        self.run(self.ledger.renew(name, lease_s=600, slots=100, facts=facts, registered=False))

    def configure(self, name: str, value: str | int) -> None:
        """CONFIG SET."""
        self.until_the_end.callback(self.redis.config_set, name, AS_IT_SHOULD_BE[name])
        self.redis.config_set(name, value)

    def no_worker(self) -> None:
        self.run(self.ledger.drain("w1", leave=True))

    def published(self, *, key: str = "set", **connections: Any) -> None:
        """What the leading worker publishes: what config.yaml says, but for these connections (None: it has none)."""
        public = load_settings(self.config).public()
        for name, changed in connections.items():
            if changed is None:
                del public["connections"][name]
            else:
                public["connections"][name].update(changed)
        public["keys"] = dict.fromkeys(public["connections"], key)
        self.run(
            self.ledger.publish(
                f"{self._number} {key} {connections}", orjson.dumps(public), {"connections": 1}
            )
        )

    def checked(self, state: str, **more: Any) -> None:
        """A worker has checked the connection `sim`."""
        outcome = {"connection": "sim", "source": "custom", "state": state, **more}
        self.run(self.ledger.answer("", orjson.dumps(outcome), status_of="sim"))

    def examine(self) -> list[Finding]:
        """What doctor finds."""
        return list(examine(self.config))
