"""Several worker processes of one `chatq worker`: they start and end together, and one that dies comes back."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from installation import Install, Installation, until
from worker_process import WorkerProcess

SETTLED_S = 10.0
"""How long a process has to live so that it is started again."""


@pytest.fixture
def installation(install: Install) -> Installation:
    return install()


def started(installation: Installation, *options: str) -> WorkerProcess:
    parent = WorkerProcess(
        installation.config,
        installation.folder / "workers.log",
        installation.environ,
        fresh=True,
        options=options,
    )
    installation.workers.append(parent)
    return parent


def processes(installation: Installation) -> set[int]:
    """The process ids of the workers that are registered."""
    return {int(re.search(r"-(\d+)-", name)[1]) for name in installation.registered()}  # type: ignore[index]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.thorough
def test_processes_share_the_work_and_end_together(installation: Installation) -> None:
    parent = started(installation, "--processes", "2")
    until(lambda: len(processes(installation)) == 2, "two workers to register")
    pids = processes(installation)
    assert parent.pid not in pids
    batch = installation.queue.enqueue_batch([f"job:{number} Say hi" for number in range(20)], "sim")
    assert {record.state for record in installation.follow(batch.id)} == {"succeeded"}

    parent.send(signal.SIGTERM)
    assert parent.wait() == 0
    assert all(gone(pid) for pid in pids)
    assert installation.registered() == []


@pytest.mark.thorough
def test_one_that_was_told_to_stop_stays_away(installation: Installation) -> None:
    parent = started(installation, "--processes", "2")
    until(lambda: len(processes(installation)) == 2, "two workers to register")
    first, second = processes(installation)
    os.kill(first, signal.SIGTERM)
    until(lambda: processes(installation) == {second}, "one to leave")
    until(lambda: "was told to stop" in parent.log, "the parent to see it")
    assert parent.runs
    os.kill(second, signal.SIGTERM)
    assert parent.wait() == 0


@pytest.mark.thorough
def test_one_that_dies_soon_after_its_start_ends_all(installation: Installation) -> None:
    parent = started(installation, "--processes", "2")
    parent.expect("ended with exit code -9 soon after its start")
    until(lambda: len(processes(installation)) == 2, "two workers to register")
    first, second = processes(installation)
    os.kill(first, signal.SIGKILL)
    assert parent.wait() == 1
    assert gone(second)


def test_what_is_wrong_is_said_once(installation: Installation) -> None:
    parent = started(installation, "--processes", "3", "--config", str(installation.folder / "none.yaml"))
    parent.expect("none.yaml")
    assert parent.wait() == 2
    assert parent.log.count("none.yaml") == 1


@pytest.mark.thorough
def test_one_that_dies_later_is_started_again(installation: Installation) -> None:
    parent = started(installation, "--processes", "2")
    until(lambda: len(processes(installation)) == 2, "two workers to register")
    before = processes(installation)
    registered_at = time.monotonic()
    until(lambda: time.monotonic() > registered_at + SETTLED_S, "them to be no longer young")
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(processes(installation) - before) == 1, "another in its place")
    assert parent.runs
    assert installation.run("sim", "Say hi").state == "succeeded"
    parent.send(signal.SIGINT)
    assert parent.wait() == 0
