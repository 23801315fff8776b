"""Workers whose consumer is connected and gets nothing: they notice, connect anew, and cost others nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from deaf_proxy import DeafProxy
from installation import WAIT_S, Install, Installation, until

from forked import run
from servers import RealServer

ANEW = "none of this worker's messages comes; connecting to the broker anew"


@pytest.fixture
def server() -> Iterator[RealServer]:
    server = RealServer().start()
    yield server
    server.remove()


# (Tests name `install` last, so that their workers end before the proxy does.)
@pytest.fixture
def proxy(server: RealServer) -> Iterator[DeafProxy]:
    """A worker with `through(proxy)` in its environment sends and gets its messages through it."""
    with DeafProxy(server.socket) as proxy:
        yield proxy


def through(proxy: DeafProxy) -> dict[str, str]:
    return {"CHATQ_REDIS__BROKER_URL": proxy.url}


def hindrances(installation: Installation) -> list[str]:
    return [hindrance["message"] for hindrance in installation.queue.overview()["hindrances"]]


@pytest.mark.thorough
def test_a_deaf_worker_connects_anew_while_another_serves_and_each_job_is_called_once(
    server: RealServer, proxy: DeafProxy, install: Install
) -> None:
    installation = install(worker={"slots": 20, "lease": "30s"}, redis={"url": server.url})
    hearing = installation.start_worker()
    deaf = installation.start_worker(environ=through(proxy))
    assert installation.run("sim", "job:before").state == "succeeded"
    pid = deaf.pid
    proxy.deafen()
    first = installation.queue.enqueue_batch([f"job:first-{n}" for n in range(40)], "sim")
    name = installation.id_of(deaf)
    until(lambda: hindrances(installation), "the stall to be noticed")
    [message] = hindrances(installation)
    assert message.startswith(f"Worker {name} begins nothing of what it is given")
    assert installation.queue.overview()["ready"]
    # What it was given runs out within the claims of 3 s; nothing more is given to it.
    assert {record.state for record in installation.follow(first.id)} == {"succeeded"}
    given = installation.redis.hget("chatq:totals", "lost_claims")
    second = installation.queue.enqueue_batch([f"job:second-{n}" for n in range(100)], "sim")
    assert {record.state for record in installation.follow(second.id)} == {"succeeded"}
    assert installation.redis.hget("chatq:totals", "lost_claims") == given

    proxy.relent()
    until(lambda: not hindrances(installation), "the worker to hear again")
    assert ANEW in deaf.messages()
    hearing.kill()
    assert installation.run("sim", "job:after").state == "succeeded"
    assert (deaf.runs, deaf.pid) == (True, pid)
    assert set(installation.calls().values()) == {1}


@pytest.mark.thorough
def test_status_doctor_and_health_check_tell_of_a_worker_that_is_deaf_and_of_no_other(
    server: RealServer, proxy: DeafProxy, install: Install
) -> None:
    installation = install(worker={"slots": 20, "lease": "30s"}, redis={"url": server.url})
    worker = installation.start_worker(environ=through(proxy))
    assert installation.run("sim", "job:before").state == "succeeded"
    assert_well(installation)
    installation.hold_answers()
    held = installation.queue.enqueue("sim", "job:held")
    installation.await_in_flight(1)
    proxy.deafen()
    job = installation.queue.enqueue("sim", "job:late")
    until(lambda: hindrances(installation), "the stall to be noticed")
    said = f"Worker {installation.id_of(worker)} begins nothing of what it is given"
    assert said in installation.command("status").stdout
    told = json.loads(installation.command("status", "--json").stdout)
    assert told["ready"] is False
    assert [hindrance["message"].startswith(said) for hindrance in told["hindrances"]] == [True]
    doctor = installation.command("doctor")
    assert doctor.returncode == 1
    assert f"WRONG  workers: {said}" in doctor.stdout
    sick = health(installation)
    assert sick.returncode == 1
    assert sick.stderr.startswith(f"chatq health: {said}")

    proxy.relent()
    installation.await_in_flight(2)  # the call that ran when it connected anew runs on
    until(lambda: not hindrances(installation), "the stall to be over")
    installation.release_answers()
    assert {installation.queue.wait(one.id, WAIT_S).state for one in (held, job)} == {"succeeded"}
    assert_well(installation)
    assert installation.calls() == {"before": 1, "held": 1, "late": 1}


def assert_well(installation: Installation) -> None:
    assert hindrances(installation) == []
    assert installation.queue.overview()["ready"]
    assert "begins nothing" not in installation.command("status").stdout
    assert health(installation).returncode == 0


def health(installation: Installation) -> subprocess.CompletedProcess[str]:
    """`python -m chatq_worker health`."""
    return run("chatq_worker", "health", folder=installation.folder, environ=installation.environ)
