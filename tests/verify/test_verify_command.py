"""`chatq verify` in earnest: real processes, real faults, a ledger that holds, and one that was tampered with."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

CHATQ = str(Path(sys.executable).with_name("chatq"))
WAIT_S = 120.0
"""Far more than any run takes: the machine may be busy."""
FAULTS = ("worker killed", "server killed", "messages doubled", "producer killed")


@pytest.fixture(autouse=True)
def own_tmpdir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path_factory.mktemp("t")
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def arguments(jobs: int, *faults: str) -> list[str]:
    return [
        *(CHATQ, "verify", "--json", "--seed", "3", "--workers", "2", "--jobs", str(jobs)),
        *(word for fault in faults for word in ("--fault", fault)),
    ]


@contextlib.contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(WAIT_S)
def test_nothing_is_lost_doubled_or_changed_in_a_short_run_with_a_fault_of_each_part(
    own_tmpdir: Path,
) -> None:
    """640 jobs. All that it prints is the ledger, and nothing is left of it."""
    run = subprocess.run(arguments(640, *FAULTS), capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    ledger: dict[str, Any] = json.loads(run.stdout)
    assert ledger["holds"] is True
    assert (ledger["seed"], ledger["jobs"], ledger["acknowledged"]) == (3, 640, 640)
    zero = ("lost", "doubled", "changed_after_final", "announced_twice", "paid_unexplained", "unlisted_calls")
    assert {name: ledger[name] for name in zero} == dict.fromkeys(zero, 0)
    assert {recovery["name"] for recovery in ledger["recoveries"]} == set(FAULTS)
    assert list(own_tmpdir.iterdir()) == []


@pytest.mark.timeout(WAIT_S)
def test_a_record_that_vanishes_is_found_and_what_is_needed_to_look_into_it_is_kept(own_tmpdir: Path) -> None:
    with running(arguments(60, "connections cut")) as verify:
        gone = delete_a_record(own_tmpdir)
        output, said = verify.communicate(timeout=WAIT_S)
    assert verify.returncode == 1, said
    ledger = json.loads(output)
    assert (ledger["holds"], ledger["lost"]) == (False, 1)
    (folder,) = own_tmpdir.iterdir()
    assert said.startswith(f"seed 3, 60 jobs: see {folder}/evidence.json")
    evidence = json.loads((folder / "evidence.json").read_text())
    assert gone not in {record["id"] for record in evidence["records"]}
    assert {path.name for path in folder.iterdir()} >= {"worker-1.log", "data", "config.yaml"}


def delete_a_record(place: Path) -> str:
    """Delete the first final record of the run there, as no part of chatq would; its id."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for socket in place.glob("*/data/redis.sock"):
            with contextlib.suppress(redis.RedisError), redis.Redis(unix_socket_path=str(socket)) as server:
                for key in server.scan_iter("chatq:result:*"):
                    server.delete(key)
                    return str(key.decode().removeprefix("chatq:result:"))
        time.sleep(0.1)
    raise AssertionError("no record came about")


def test_a_fault_that_does_not_exist_is_wrong_use() -> None:
    run = subprocess.run(arguments(60, "moon eclipsed"), capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "invalid choice: 'moon eclipsed' (choose from 'worker killed'" in run.stderr
    assert run.stdout == ""
