"""`chatq verify` in earnest: real processes, real faults, a ledger that holds, and one that was tampered with.

`CHATQ_TEST_EXAMPLES=1` adds a run with every fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from chatq_sandbox.verify.faults import FAULTS
from forked import run

CHATQ = str(Path(sys.executable).with_name("chatq"))
WAIT_S = 600.0
"""Far more than any run takes: the machine may be busy."""
FEW = ("worker killed", "server killed", "messages doubled")
ZERO = ("lost", "doubled", "changed_after_final", "announced_twice", "paid_unexplained", "unlisted_calls")


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


def verified(jobs: int, *faults: str) -> dict[str, Any]:
    """The ledger of a run that holds; all that it printed."""
    ended = subprocess.run(
        arguments(jobs, *faults), capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    ledger: dict[str, Any] = json.loads(ended.stdout)
    assert ledger["holds"] is True
    return ledger


@pytest.mark.thorough
@pytest.mark.timeout(WAIT_S)
def test_nothing_is_lost_doubled_or_changed_in_a_short_run_with_a_few_faults(own_tmpdir: Path) -> None:
    ledger = verified(480, *FEW)
    assert (ledger["seed"], ledger["jobs"], ledger["acknowledged"]) == (3, 480, 480)
    assert {name: ledger[name] for name in ZERO} == dict.fromkeys(ZERO, 0)
    assert {recovery["name"] for recovery in ledger["recoveries"]} == set(FEW)
    assert list(own_tmpdir.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.skipif("CHATQ_TEST_EXAMPLES" not in os.environ, reason="set CHATQ_TEST_EXAMPLES=1")
@pytest.mark.timeout(WAIT_S)
def test_nothing_is_lost_doubled_or_changed_in_a_long_run_with_every_fault() -> None:
    ledger = verified(160 * len(FAULTS))
    assert {name: ledger[name] for name in ZERO} == dict.fromkeys(ZERO, 0)
    assert [recovery["name"] for recovery in ledger["recoveries"]] == list(FAULTS)


@pytest.mark.thorough
@pytest.mark.timeout(WAIT_S)
def test_a_record_that_vanishes_is_found_and_what_is_needed_to_look_into_it_is_kept(own_tmpdir: Path) -> None:
    with running(arguments(60, "connections cut")) as verify:
        gone = delete_a_record(own_tmpdir)
        output, said = verify.communicate(timeout=WAIT_S)
    assert verify.returncode == 1, said
    assert output, said
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
    ended = run("chatq", *arguments(60, "moon eclipsed")[1:])
    assert ended.returncode == 2
    assert "invalid choice: 'moon eclipsed' (choose from 'worker killed'" in ended.stderr
    assert ended.stdout == ""
