"""How a worker with the coroutine pool starts and stops. Each test has a worker of its own."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from _pool_worker import Bench, Worker, bench


@pytest.fixture(scope="module")
def server() -> Iterator[Bench]:
    with bench() as running:
        yield running


def start_waiting(worker: Worker, count: int = 1) -> list[str]:
    """Coroutines that wait at a gate which only the end of the service's drain opens."""
    ids = [worker.send("wait", "exit") for _ in range(count)]
    for task_id in ids:
        worker.event("task-started", task_id)
    return ids


def test_on_sigterm_running_coroutines_end_and_are_reported_before_the_worker_exits_with_0(
    server: Bench,
) -> None:
    worker = server.worker("warm", service="plain", fresh=True)
    ids = start_waiting(worker, 100)
    worker.process.send_signal(signal.SIGTERM)
    worker.await_journal("drain, 100 running")
    server.redis.rpush("drain:warm", "go")
    assert worker.await_exit() == 0
    for task_id in ids:
        assert worker.event("task-succeeded", task_id)["result"] == "'exit  x100'"
    ended = {f"{task_id} ended" for task_id in ids}
    assert [entry for entry in worker.journal if entry not in ended] == [
        "start",
        "drain, 100 running",
        "drained",
        "stop, 0 running",
    ]
    assert set(worker.journal[-101:-1]) == ended  # after "drained" and before "stop"
    assert "Traceback" not in worker.log


def test_a_message_that_arrives_while_the_worker_drains_is_done_or_left_in_the_queue(server: Bench) -> None:
    worker = server.worker("closing", service="plain")
    start_waiting(worker)
    worker.process.send_signal(signal.SIGTERM)
    worker.await_journal("drain, 1 running")
    late = worker.send("open", "late")
    server.redis.rpush("drain:closing", "go")
    assert worker.await_exit() == 0
    if server.redis.llen("closing") == 0:
        worker.event("task-succeeded", late)


def test_a_second_sigterm_reaches_the_service(server: Bench) -> None:
    worker = server.worker("hurried", service="plain")
    [task_id] = start_waiting(worker)
    worker.process.send_signal(signal.SIGTERM)
    worker.await_journal("drain, 1 running")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.await_exit() == 0
    assert worker.journal == [
        "start",
        "drain, 1 running",
        "hurry",
        "drained",
        f"{task_id} cancelled: handed back",
        "stop, 0 running",
    ]
    assert worker.event("task-revoked", task_id)["signum"] == "handed back"
    assert "Traceback" not in worker.log


def test_without_a_service_sigterm_waits_for_as_long_as_the_coroutines_take(server: Bench) -> None:
    worker = server.worker("serviceless")
    task_id = worker.send("sleep", 1)
    worker.event("task-started", task_id)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.await_exit() == 0
    assert worker.event("task-succeeded", task_id)["runtime"] > 0.99
    assert "Traceback" not in worker.log


def test_the_remote_command_shutdown_drains_too(server: Bench) -> None:
    worker = server.worker("remote", service="plain")
    [task_id] = start_waiting(worker)
    server.app.control.shutdown(destination=[worker.host])
    worker.await_journal("drain, 1 running")
    server.redis.rpush("drain:remote", "go")
    assert worker.await_exit() == 0
    worker.event("task-succeeded", task_id)
    assert worker.journal[-1] == "stop, 0 running"


@pytest.mark.thorough
def test_on_sigquit_coroutines_are_cancelled_and_the_worker_exits_at_once(server: Bench) -> None:
    worker = server.worker("cold", service="plain", fresh=True)
    [task_id] = start_waiting(worker)
    worker.process.send_signal(signal.SIGQUIT)
    worker.await_exit()
    assert f"{task_id} cancelled: shutdown" in worker.journal
    assert worker.journal[-1] == "stop, 0 running"
    assert "Traceback" not in worker.log
    assert "have not" not in worker.log


@pytest.mark.thorough
def test_sigquit_does_not_hang_a_worker_that_is_sending_events(server: Bench) -> None:
    """Celery's cold shutdown waits in its signal handler for locks that the interrupted code may hold."""
    worker = server.worker("busy")
    worker.process.send_signal(signal.SIGSTOP)
    ids = [worker.send("wait", "exit") for _ in range(500)]
    worker.process.send_signal(signal.SIGCONT)
    worker.event("task-started", ids[30])
    worker.process.send_signal(signal.SIGQUIT)
    worker.await_exit()
    assert len(worker.journal) > 30
    assert all("cancelled" in entry for entry in worker.journal)


@pytest.mark.parametrize(
    "numbers", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]], ids=["SIGQUIT", "SIGINT-twice"]
)
def test_a_cold_shutdown_begins_when_the_hub_thread_has_let_go_of_what_the_coroutines_need(
    server: Bench, numbers: list[signal.Signals]
) -> None:
    worker = server.worker(f"interrupted-{len(numbers)}", service="plain")
    [task_id] = start_waiting(worker)
    worker.send("interrupt", *numbers)
    worker.await_exit()
    assert "have not" not in worker.log
    assert f"{task_id} cancelled: shutdown" in worker.journal
    assert worker.journal[-1] == "stop, 0 running"


def test_sigquit_ends_a_drain_that_sigterm_began(server: Bench) -> None:
    worker = server.worker("impatient", service="plain")
    [task_id] = start_waiting(worker)
    worker.process.send_signal(signal.SIGTERM)
    worker.await_journal("drain, 1 running")
    worker.process.send_signal(signal.SIGQUIT)
    worker.await_exit()
    assert f"{task_id} cancelled: shutdown" in worker.journal
    assert worker.journal[-1] == "stop, 0 running"
    assert "Traceback" not in worker.log


def test_a_service_that_cannot_start_ends_the_worker_with_its_reason_and_remedy(server: Bench) -> None:
    worker = server.worker("unreachable", service="unreachable", ready=False)
    assert worker.await_exit() == 1
    assert "The worker cannot start. Service did not start: No answer from example:6379." in worker.log
    assert "Start the server." in worker.log
    assert "Traceback" not in worker.log


def test_a_bug_in_the_start_of_the_service_ends_the_worker_with_a_traceback(server: Bench) -> None:
    worker = server.worker("broken", service="broken", ready=False)
    assert worker.await_exit() == 1
    assert "The worker cannot start. Service did not start: a bug in the service" in worker.log
    assert 'raise ValueError("a bug in the service")' in worker.log


def test_sigterm_ends_a_worker_whose_service_is_still_starting(server: Bench) -> None:
    worker = server.worker("starting", service="slow", ready=False)
    worker.await_journal("start")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.await_exit() == 0
    assert worker.journal == ["start", "start was cancelled"]
    assert "Traceback" not in worker.log


def test_a_broker_without_an_event_loop_is_refused(server: Bench) -> None:
    worker = server.worker("memory", broker="memory://", ready=False)
    assert worker.await_exit() == 1
    assert "needs a broker that Celery reads with an event loop: redis://" in worker.log


def test_another_pool_refuses_the_task_by_name_and_says_which_pool_it_needs(server: Bench) -> None:
    worker = server.worker("solo", "--pool", "solo")
    event = worker.event("task-failed", worker.send("sleep", 0))
    assert event["exception"] == (
        "ImproperlyConfigured('Task sleep is a coroutine and runs in no other pool: start its worker with "
        'worker_pool = "chatq_worker.pool:CoroutinePool".\')'
    )
