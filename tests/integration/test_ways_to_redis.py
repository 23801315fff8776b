"""The ways to reach Redis, each with a worker process that does a job: all that `redis` in config.yaml can say."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from installation import WAIT_S, until
from tls_proxy import TlsProxy
from worker_process import WorkerProcess

from chatq import ChatQueue, JobRecord
from chatq.contract.errors import ServerUnreachable
from chatq.ledger.server import Server
from chatq_sandbox.process import SimulatorProcess
from forked import ForkedSimulator
from servers import RealSentinel, RealServer, free_port

PASSWORD = "canary-pass/word@1"
QUOTED = "canary-pass%2Fword%401"
ACL_PASSWORD = "canary-acl-9d2c"


@dataclass(frozen=True)
class Way:
    """How a worker is told where Redis is, and in which server and db things should be then."""

    redis: Mapping[str, str]
    ledger: tuple[str, int] = ("main", 0)
    broker: tuple[str, int] | None = None
    """None: the ledger's."""
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        return self.redis["key_prefix"]


class Servers:
    """`main`: by TCP with a password; `tls`: a TLS proxy before it; `second`: another one; and a sentinel of `main`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, self.second_port, self.sentinel_port = free_port(), free_port(), free_port()
        options = ("--bind", "127.0.0.1")
        self.main = RealServer("--port", str(self.port), *options, password=PASSWORD)
        self.second = RealServer("--port", str(self.second_port), *options)
        self.sentinel = RealSentinel(
            self.sentinel_port, f"monitor the-main 127.0.0.1 {self.port} 1", f"auth-pass the-main {PASSWORD}"
        )

    def __enter__(self) -> Servers:
        with contextlib.ExitStack() as stack:
            for server in (self.main, self.second, self.sentinel):
                stack.callback(server.remove)
                server.start()
            with contextlib.closing(self.client("main", 0)) as client:
                # Redis compares the pattern of a PSUBSCRIBE with what is allowed to the letter.
                client.acl_setuser(
                    "chatq",
                    enabled=True,
                    passwords=[f"+{ACL_PASSWORD}"],
                    keys=["acl*"],
                    channels=["acl*", "acl:celery:0.acl.control.pidbox"],
                    categories=["+@all", "-@admin", "-@dangerous"],
                    commands=["+info"],
                )
            self.tls = stack.enter_context(TlsProxy(self._folder, self.port))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ways(self) -> dict[str, Way]:
        main = f"127.0.0.1:{self.port}"
        return {
            "tcp": Way({"url": f"redis://:{QUOTED}@{main}/3", "key_prefix": "team-a"}, ledger=("main", 3)),
            "acl": Way({"url": f"redis://chatq:{ACL_PASSWORD}@{main}", "key_prefix": "acl"}),
            "tls": Way(
                {
                    "url": f"rediss://:{QUOTED}@localhost:{self.tls.port}?ssl_ca_certs={self.tls.certificate}",
                    "key_prefix": "tls",
                }
            ),
            "apart": Way(
                {
                    "url": f"unix://:{QUOTED}@{self.main.socket}?db=2",
                    "broker_url": f"redis://127.0.0.1:{self.second_port}/1",
                    "key_prefix": "apart",
                },
                ledger=("main", 2),
                broker=("second", 1),
            ),
            "stock": Way(
                {
                    "url": f"redis://:{QUOTED}@{main}",
                    "broker_url": f"unix://{self.second.socket}",
                    "key_prefix": "stock",
                },
                broker=("second", 0),
                environ={"CHATQ_INTERNAL_TRANSPORT": "stock"},
            ),
            "sentinel": Way(
                {
                    "url": f"sentinel://:{QUOTED}@127.0.0.1:1,127.0.0.1:{self.sentinel_port}/the-main/4",
                    "key_prefix": "sentinel",
                },
                ledger=("main", 4),
            ),
        }

    def client(self, name: str, db: int) -> redis.Redis:
        server = self.main if name == "main" else self.second
        return server.client(db=db, decode_responses=True)


WAYS = ("tcp", "acl", "tls", "apart", "stock", "sentinel")


class Fleet:
    """A worker for each way, all started at once."""

    def __init__(self, folder: Path, servers: Servers, simulator: SimulatorProcess) -> None:
        self.servers = servers
        self.ways = servers.ways()
        assert tuple(self.ways) == WAYS
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CHATQ_")}
        environ["CHATQ_INTERNAL_SIMULATOR_URL"] = simulator.url
        self.configs: dict[str, Path] = {}
        self.workers: dict[str, WorkerProcess] = {}
        for name, way in self.ways.items():
            config = self.configs[name] = folder / f"{name}.yaml"
            connection = {"source": "custom", "url": "simulator", "model": "demo"}
            settings: dict[str, Any] = {"redis": way.redis, "log": {"format": "json"}}
            config.write_text(json.dumps({**settings, "connections": {"sim": connection}}))
            self.workers[name] = WorkerProcess(config, folder / f"{name}.log", {**environ, **way.environ})

    def run_job(self, name: str) -> JobRecord:
        """Wait for the worker, and have it do a job."""
        until(lambda: self._has_started(name), "the worker to register")
        with ChatQueue(self.configs[name]) as queue:
            return queue.wait(queue.enqueue("sim", f"job:{name} Say hi").id, WAIT_S)

    def keys(self, server: str, db: int) -> list[str]:
        """All keys of a db."""
        with contextlib.closing(self.servers.client(server, db)) as client:
            return sorted(client.scan_iter(count=1000))

    def _has_started(self, name: str) -> bool:
        worker, way = self.workers[name], self.ways[name]
        assert worker.runs, f"the worker ended with exit code {worker.wait()}; its log:\n{worker.log}"
        return f"{way.prefix}:workers" in self.keys(*way.ledger)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("ways")
    with (
        Servers(folder) as servers,
        ForkedSimulator({"sources": {"custom": {"models": ["demo"]}}}) as simulator,
    ):
        started = Fleet(folder, servers, simulator)
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("CHATQ_")]:
                patch.delenv(name)  # such as CHATQ_TEST_SERVER, which is no setting
            yield started
        for worker in started.workers.values():
            worker.kill()
        faults = {name: worker.faults() for name, worker in started.workers.items() if worker.faults()}
        assert not faults


@pytest.mark.parametrize("name", WAYS)
def test_a_worker_does_a_job_over(fleet: Fleet, name: str) -> None:
    record = fleet.run_job(name)
    assert (record.state, len(record.attempts)) == ("succeeded", 1)
    assert record.result is not None
    assert f"job:{name} " in record.result.text
    log = fleet.workers[name].log
    assert all(secret not in log for secret in (PASSWORD, QUOTED, ACL_PASSWORD))


@pytest.mark.parametrize("name", ["apart", "stock"])
def test_what_celery_keeps_is_in_the_broker_and_what_the_ledger_keeps_is_not(fleet: Fleet, name: str) -> None:
    job_id = fleet.run_job(name).id
    way = fleet.ways[name]
    assert way.broker is not None
    in_ledger, in_broker = fleet.keys(*way.ledger), fleet.keys(*way.broker)
    assert f"{name}:result:{job_id}" in in_ledger
    assert not any(key.startswith(f"{name}:celery:") for key in in_ledger)
    assert any(key.startswith(f"{name}:celery:") for key in in_broker)
    assert not any(key.startswith(f"{name}:result:") for key in in_broker)


def test_every_key_is_under_the_prefix(fleet: Fleet) -> None:
    for name in WAYS:
        fleet.run_job(name)
    prefixes = tuple(way.prefix for way in fleet.ways.values())
    places = {way.ledger for way in fleet.ways.values()} | {
        way.broker for way in fleet.ways.values() if way.broker
    }
    keys = {place: fleet.keys(*place) for place in places}
    assert all(keys.values())
    assert [key for each in keys.values() for key in each if not key.startswith(prefixes)] == []
    assert {key.partition(":")[0] for key in keys["main", 3]} == {"team-a"}


def test_a_certificate_that_nobody_vouches_for_is_refused(fleet: Fleet) -> None:
    server = Server(lambda: f"rediss://:{QUOTED}@localhost:{fleet.servers.tls.port}", patience_s=0)
    with pytest.raises(ServerUnreachable, match="certificate verify failed"):
        server.client()


def test_sentinels_that_know_no_such_master_are_named_without_the_password(fleet: Fleet) -> None:
    url = f"sentinel://:{QUOTED}@127.0.0.1:{fleet.servers.sentinel_port}/another"
    with pytest.raises(ServerUnreachable, match="No master found for 'another'") as raised:
        Server(lambda: url, patience_s=0).client()
    assert QUOTED not in str(raised.value)
