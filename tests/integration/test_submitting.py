"""`chatq.submit`: jobs from Celery clients that know nothing of us."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from installation import WAIT_S, Installation, until
from worker_events import Listener

from chatq import JobRecord, UnknownJob


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own; ids must be unique to their test."""
    with Installation(tmp_path_factory.mktemp("submitting"), bounds={"job_bytes": "64KiB"}) as made:
        made.start_worker()
        yield made


def submit(running: Installation, job: Any, task_id: str) -> None:
    """As any Celery client sends it."""
    app = Celery(broker=running.url.replace("unix://", "redis+socket://"), set_as_current=False)
    app.send_task("chatq.submit", [job], task_id=task_id, queue="chatq")
    app.close()


def record_of(running: Installation, job_id: str) -> JobRecord:
    """The final record, once there is one."""

    def look() -> JobRecord | None:
        try:
            return running.queue.get(job_id)
        except UnknownJob:
            return None

    until(look, "the record")
    return running.queue.wait(job_id, WAIT_S)


def test_the_task_id_becomes_the_jobs(running: Installation) -> None:
    submit(running, {"connection": "sim", "prompt": "job:t1 hi", "metadata": {"a": "b"}}, "task-1")
    record = record_of(running, "task-1")
    assert (record.state, record.metadata) == ("succeeded", {"a": "b"})
    assert running.redis.get("chatq:result:task-1") is not None


def test_sent_again_it_is_the_same_job(running: Installation) -> None:
    for _ in range(3):
        submit(running, {"connection": "sim", "prompt": "job:t2 hi"}, "task-2")
    assert record_of(running, "task-2").state == "succeeded"
    submit(running, {"connection": "sim", "prompt": "job:t2-after hi"}, "task-2b")
    record_of(running, "task-2b")
    assert running.calls()["t2"] == 1


def test_another_job_under_the_same_id_changes_nothing(running: Installation) -> None:
    submit(running, {"connection": "sim", "prompt": "job:t3 hi"}, "task-3")
    before = record_of(running, "task-3")
    submit(running, {"connection": "sim", "prompt": "job:t3-other hi"}, "task-3")
    submit(running, {"connection": "sim", "prompt": "job:t3-after hi"}, "task-3b")
    record_of(running, "task-3b")
    assert running.queue.get("task-3") == before
    assert "t3-other" not in running.calls()


@pytest.mark.parametrize(
    ("name", "job", "code", "said"),
    [
        ("connection", {"connection": "sum", "prompt": "hi"}, "unknown_connection", 'did you mean "sim"?'),
        ("key", {"connection": "sim", "promt": "hi"}, "invalid_job", 'unknown key "promt"'),
        ("large", {"connection": "sim", "prompt": "x" * 70_000}, "job_too_large", "bounds.job_bytes"),
        ("text", "hi", "invalid_job", "The argument is not a job."),
        ("nothing", None, "invalid_job", "The argument is not a job."),
        ("odd", {"connection": ["x" * 100, '"\\'], "prompt": "hi"}, "invalid_job", "connection"),
    ],
)
def test_a_refusal_is_a_failed_record(
    running: Installation, name: str, job: Any, code: str, said: str
) -> None:
    submit(running, job, f"refused-{name}")
    record = record_of(running, f"refused-{name}")
    assert record.state == "failed"
    assert record.attempts == []
    assert record.error is not None
    assert record.error.code == code
    assert said in record.error.message
    running.queue.retry_failed()  # there is nothing to try again
    running.queue.delete(f"refused-{name}")
    with pytest.raises(UnknownJob):
        running.queue.get(f"refused-{name}")


def test_a_job_that_was_submitted_while_no_worker_lived_runs_later(tmp_path: Any) -> None:
    with Installation(tmp_path) as alone:
        submit(alone, {"connection": "sim", "prompt": "job:later hi"}, "later")
        alone.start_worker()
        assert record_of(alone, "later").state == "succeeded"


@pytest.mark.thorough
def test_who_looks_at_the_worker_sees_no_prompt(running: Installation) -> None:
    with Listener(running.url) as listener:
        submit(running, {"connection": "sim", "prompt": "canary-prompt job:seen hi"}, "seen")
        listener.until("task-succeeded", "seen")
        received = listener.until("task-received", "seen")
    assert received["name"] == "chatq.complete"
    assert listener.kinds["seen"].count("task-received") == 1
    assert "canary-prompt" not in "".join(listener.heard)
    assert "canary-prompt" not in "".join(worker.log for worker in running.workers)


BARE = """
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
app.send_task("chatq.submit", [{"connection": "sim", "prompt": "job:bare hi"}], task_id="bare", queue="chatq")
assert not any(name.startswith("chatq") for name in sys.modules)
"""


def test_a_client_needs_nothing_but_celery(running: Installation) -> None:
    url = running.url.replace("unix://", "redis+socket://")
    subprocess.run([sys.executable, "-c", BARE, url], check=True, timeout=WAIT_S)
    assert record_of(running, "bare").state == "succeeded"
