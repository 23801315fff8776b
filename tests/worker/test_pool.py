"""What a worker with the coroutine pool does while it runs. One worker serves all of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from _pool_worker import Bench, Worker, bench, until


@pytest.fixture(scope="module")
def server() -> Iterator[Bench]:
    with bench() as running:
        yield running


@pytest.fixture(scope="module")
def worker(server: Bench) -> Worker:
    return server.worker("pool", service="plain")


@pytest.mark.thorough
def test_a_thousand_coroutines_are_in_flight_at_the_same_time_in_one_process(worker: Worker) -> None:
    ids = [worker.send("meet", 1000) for _ in range(1000)]
    pids = {worker.event("task-succeeded", task_id)["result"] for task_id in ids}
    assert pids == {f"'{worker.process.pid}'"}


def test_a_return_value_is_a_success_with_the_runtime_of_the_coroutine(worker: Worker) -> None:
    task_id = worker.send("sleep", 0.3)
    event = worker.event("task-succeeded", task_id)
    assert event["result"] == "'rested'"
    assert 0.29 < event["runtime"] < 3
    worker.await_log(f"Task sleep[{task_id}] succeeded in {event['runtime']}s: 'rested'")
    assert worker.bench.kinds(task_id) == ["task-received", "task-started", "task-succeeded"]


def test_an_exception_is_a_failure_with_the_traceback_of_the_coroutine(worker: Worker) -> None:
    event = worker.event("task-failed", worker.send("fail"))
    assert event["exception"] == "ValueError('no such model')"
    assert 'raise ValueError("no such model")' in event["traceback"]


def test_arguments_that_do_not_fit_are_a_failure(worker: Worker) -> None:
    event = worker.event("task-failed", worker.send("sleep", 1, 2, 3))
    assert event["exception"].startswith("TypeError(")


def test_a_retry_is_reported_as_a_retry(worker: Worker) -> None:
    task_id = worker.send("retry_later")
    event = worker.event("task-retried", task_id)
    assert event["exception"] == "ConnectionError('429')"
    assert worker.bench.kinds(task_id) == ["task-received", "task-started", "task-retried"]


@pytest.mark.parametrize(
    ("how", "shown"),
    [
        ("SystemExit", "SystemExit(3)"),
        ("KeyboardInterrupt", "KeyboardInterrupt()"),
        ("MemoryError", "MemoryError()"),
        ("CancelledError", "CancelledError()"),
    ],
)
def test_what_would_end_the_process_fails_the_task_and_the_worker_lives(
    worker: Worker, how: str, shown: str
) -> None:
    event = worker.event("task-failed", worker.send("escape", how))
    assert event["exception"] == f"CoroutineAbortedError('the coroutine ended with {shown}')"
    worker.event("task-succeeded", worker.send("sleep", 0))


def test_a_system_exit_in_a_task_that_a_coroutine_has_made_does_not_end_the_loop(worker: Worker) -> None:
    event = worker.event("task-succeeded", worker.send("escape_from_child"))
    assert event["result"] == "'SystemExit(3)'"


def test_a_message_is_acknowledged_while_its_coroutine_runs(worker: Worker) -> None:
    task_id = worker.send("wait", "acknowledged")
    worker.event("task-started", task_id)
    until(lambda: worker.bench.redis.hlen("unacked") == 0, "the acknowledgement")
    assert worker.bench.kinds(task_id) == ["task-received", "task-started"]
    worker.send("open", "acknowledged")
    worker.event("task-succeeded", task_id)


def test_a_second_delivery_of_a_running_task_gets_the_outcome_of_the_first(worker: Worker) -> None:
    task_id = worker.send("wait", "doubled", "first")
    worker.event("task-started", task_id)
    worker.send("wait", "doubled", "second", task_id=task_id)
    worker.bench.events("task-started", task_id, 2)
    worker.send("open", "doubled")
    results = [event["result"] for event in worker.bench.events("task-succeeded", task_id, 2)]
    assert results == ["'doubled first x1'", "'doubled first x1'"]
    assert worker.control("query_task", ids=[task_id]) == {}


def test_a_task_id_runs_again_when_its_coroutine_has_ended(worker: Worker) -> None:
    task_id = worker.send("open", "again")
    worker.event("task-succeeded", task_id)
    worker.send("wait", "again", task_id=task_id)
    assert worker.bench.events("task-succeeded", task_id, 2)[1]["result"] == "'again  x1'"


def test_a_revoke_with_terminate_cancels_the_coroutine(worker: Worker) -> None:
    task_id = worker.send("wait", "never")
    worker.event("task-started", task_id)
    worker.bench.app.control.revoke(task_id, terminate=True)
    event = worker.event("task-revoked", task_id)
    assert (event["terminated"], event["expired"]) == (True, False)
    worker.await_journal(f"{task_id} cancelled: revoked")
    assert worker.control("query_task", ids=[task_id]) == {}


def test_both_deliveries_of_a_doubled_task_are_revoked(worker: Worker) -> None:
    task_id = worker.send("wait", "never")
    worker.event("task-started", task_id)
    worker.send("wait", "never", task_id=task_id)
    worker.bench.events("task-started", task_id, 2)
    worker.bench.app.control.revoke(task_id, terminate=True)
    worker.bench.events("task-revoked", task_id, 2)
    assert [request["id"] for request in worker.control("active")].count(task_id) == 0


def test_a_revoked_task_stays_revoked_when_its_coroutine_finishes_in_its_own_way(worker: Worker) -> None:
    task_id = worker.send("wait_and_settle")
    worker.await_journal(f"{task_id} waits")
    worker.bench.app.control.revoke(task_id, terminate=True)
    worker.await_journal(f"{task_id} settled")
    worker.event("task-succeeded", worker.send("sleep", 0))  # reported after what there is about the other
    assert worker.bench.kinds(task_id) == ["task-received", "task-started", "task-revoked"]


def test_a_coroutine_that_the_service_cancels_is_terminated_for_celery(worker: Worker) -> None:
    task_id = worker.send("wait", "never")
    worker.event("task-started", task_id)
    assert worker.event("task-succeeded", worker.send("cancel", task_id))["result"] == "[True, False]"
    assert worker.event("task-revoked", task_id)["signum"] == "by a test"
    worker.await_journal(f"{task_id} cancelled: by a test")


def test_a_coroutine_that_the_service_cancels_may_finish_in_its_own_way(worker: Worker) -> None:
    task_id = worker.send("wait_and_settle")
    worker.await_journal(f"{task_id} waits")
    worker.send("cancel", task_id)
    assert worker.event("task-succeeded", task_id)["result"] == "'settled in its own way'"


def test_the_hard_time_limit_cancels_the_coroutine_and_fails_the_task(worker: Worker) -> None:
    task_id = worker.send("wait", "never", time_limit=0.2)
    assert "TimeLimitExceeded: TimeLimitExceeded(0.2,)" in worker.event("task-failed", task_id)["traceback"]
    worker.await_journal(f"{task_id} cancelled: time limit")
    assert worker.bench.kinds(task_id) == ["task-received", "task-started", "task-failed"]


def test_the_soft_time_limit_is_logged_and_the_coroutine_goes_on(worker: Worker) -> None:
    task_id = worker.send("wait", "slow", soft_time_limit=0.1)
    worker.await_log(f"Soft time limit (0.1s) exceeded for wait[{task_id}]")
    worker.send("open", "slow")
    assert worker.event("task-succeeded", task_id)["result"] == "'slow  x1'"


def test_a_plain_task_runs_in_the_hub_thread(worker: Worker) -> None:
    event = worker.event("task-succeeded", worker.send("plain", "ran"))
    assert event["result"] == "'ran in MainThread'"


def test_a_plain_task_that_exits_is_a_failure_and_the_worker_lives(worker: Worker) -> None:
    event = worker.event("task-failed", worker.send("plain", "exit"))
    assert "Worker exited prematurely" in event["traceback"]
    worker.event("task-succeeded", worker.send("sleep", 0))


def test_a_coroutine_can_have_a_function_called_in_the_hub_thread(worker: Worker) -> None:
    event = worker.event("task-succeeded", worker.send("ask_hub"))
    assert event["result"] == "['MainThread', 'chatq-loop', 'True']"


@pytest.mark.thorough
def test_remote_commands_are_answered_while_500_coroutines_run(worker: Worker) -> None:
    ids = [worker.send("wait", "crowd") for _ in range(500)]
    for task_id in ids:
        worker.event("task-started", task_id)
    assert worker.control("ping") == {"ok": "pong"}
    assert len(worker.control("active")) == 500
    pool = worker.control("stats")["pool"]
    assert pool == {
        "implementation": "chatq_worker.pool:CoroutinePool",
        "max-concurrency": 1000,
        "running": 500,
        "processes": [worker.process.pid],
        "timeouts": [0, 0],
    }
    worker.send("open", "crowd")
    for task_id in ids:
        worker.event("task-succeeded", task_id)


@pytest.mark.parametrize(("command", "verb"), [("pool_grow", "growing"), ("pool_shrink", "shrinking")])
def test_growing_and_shrinking_is_answered_and_changes_nothing(
    worker: Worker, command: str, verb: str
) -> None:
    assert "ok" in worker.control(command, n=3)
    worker.await_log(f"{verb} it by 3 changes nothing")
    assert worker.control("stats")["pool"]["max-concurrency"] == 1000


def test_the_worker_goes_on_when_the_broker_drops_its_connections(worker: Worker) -> None:
    task_id = worker.send("wait", "reconnect")
    worker.event("task-started", task_id)
    connections = worker.log.count("Connected to")
    for client in worker.bench.redis.client_list(_type="normal"):
        if client["cmd"] == "brpop":
            worker.bench.redis.client_kill_filter(_id=client["id"])
    until(lambda: worker.log.count("Connected to") > connections, "a new connection")
    worker.send("open", "reconnect")
    event = worker.event("task-succeeded", task_id)
    assert event["result"] == "'reconnect  x1'"


def test_what_has_ended_leaves_no_ring_of_objects_behind(worker: Worker) -> None:
    def garbage() -> object:
        return worker.event("task-succeeded", worker.send("garbage"))["result"]

    garbage()
    for kind, task_id in [
        ("task-succeeded", worker.send("sleep", 0)),
        ("task-failed", worker.send("fail")),
        ("task-retried", worker.send("retry_later")),
        ("task-failed", worker.send("escape", "SystemExit")),
        ("task-failed", worker.send("sleep", 1, 2, 3)),
    ]:
        worker.event(kind, task_id)
    waiting = worker.send("wait", "ring")
    worker.event("task-started", waiting)
    worker.bench.app.control.revoke(waiting, terminate=True)
    worker.event("task-revoked", waiting)
    worker.await_journal(f"{waiting} cancelled: revoked")
    assert garbage() == "[]"
