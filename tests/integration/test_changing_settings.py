"""config.yaml changes while workers run: it is taken up without a restart, and a broken one changes nothing."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest
from installation import OPENAI_KEY, WAIT_S, WRONG_KEY, Install, Installation, until
from worker_process import WorkerProcess

from chatq import ChatQueue

TAKEN_UP_S = 3.0


def edit(installation: Installation, change: Callable[[dict[str, Any]], None]) -> None:
    """Change config.yaml."""
    settings = json.loads(installation.config.read_text())
    change(settings)
    installation.config.write_text(json.dumps(settings, indent=1))


def limit(installation: Installation, calls: int) -> None:
    """Change the concurrency of `sim`."""
    edit(installation, lambda settings: settings["connections"]["sim"].update(limits={"concurrency": calls}))


@pytest.fixture
def running(install: Install) -> Installation:
    """One worker, one call at a time on `sim`."""
    sim = {"source": "custom", "url": "simulator", "model": "demo", "limits": {"concurrency": 1}}
    installation = install(connections={"sim": sim})
    installation.start_worker()
    return installation


@pytest.mark.thorough
def test_limits_are_raised_and_lowered_while_jobs_run(running: Installation) -> None:
    running.hold_answers()
    jobs = [running.queue.enqueue("sim", f"job:live-{number}") for number in range(6)]
    running.await_in_flight(1)
    asked_s = time.monotonic()
    limit(running, 4)
    running.await_in_flight(4)
    assert time.monotonic() - asked_s < TAKEN_UP_S
    limit(running, 2)
    until(lambda: running.redis.hget("chatq:rules", "concurrency:sim") == "2", "the lower limit")
    assert running.simulator.counts()["total"]["in_flight"] == 4, "jobs that had begun go on"
    running.release_answers()
    assert [running.queue.wait(job.id, WAIT_S).state for job in jobs] == ["succeeded"] * 6


@pytest.mark.thorough
def test_a_new_connection_is_taken_up_while_jobs_run(running: Installation) -> None:
    running.hold_answers()
    job = running.queue.enqueue("sim", "job:begun-before")
    running.await_in_flight(1)
    asked_s = time.monotonic()
    fresh = {"source": "custom", "url": "simulator", "model": "demo", "limits": {"scope": "another account"}}
    edit(
        running, lambda settings: settings["connections"].update(fresh={**fresh, "params": {"max_tokens": 5}})
    )
    with ChatQueue(running.config) as queue:
        new = queue.enqueue("fresh", "job:on-the-new-one")
        running.await_in_flight(2)
        assert time.monotonic() - asked_s < TAKEN_UP_S
        running.release_answers()
        assert queue.wait(new.id, WAIT_S).state == "succeeded"
        assert queue.wait(job.id, WAIT_S).state == "succeeded"
        until(lambda: queue.status("fresh").state == "ok", "the check of the new connection")
    [request] = running.simulator.control("GET", "requests?job=on-the-new-one")
    assert request["body"]["max_tokens"] == 5


@pytest.mark.thorough
def test_jobs_of_a_connection_that_is_taken_out_wait_until_it_is_back(running: Installation) -> None:
    written = running.config.read_text()
    running.hold_answers()
    jobs = [running.queue.enqueue("sim", f"job:taken-out-{number}") for number in range(3)]
    running.await_in_flight(1)
    edit(running, lambda settings: settings["connections"].pop("sim"))
    until(lambda: not running.redis.hexists("chatq:rules", "account:sim"), "the connection to be gone")
    running.release_answers()
    assert running.queue.wait(jobs[0].id, WAIT_S).state == "succeeded", "it ends as it began"
    assert running.run("once", "job:on-another").state == "succeeded"
    assert [running.queue.get(job.id).state for job in jobs[1:]] == ["queued", "queued"]
    running.config.write_text(written)
    assert [running.queue.wait(job.id, WAIT_S).state for job in jobs] == ["succeeded"] * 3


@pytest.mark.thorough
def test_a_broken_file_changes_nothing_and_is_told_until_it_is_mended(running: Installation) -> None:
    [worker] = running.workers
    elsewhere = running.folder / "elsewhere.yaml"
    shutil.copy(running.config, elsewhere)
    written = running.config.read_text()
    rules = until(lambda: running.redis.hgetall("chatq:rules"), "the first settings to be published")
    running.config.write_text(written.replace('"concurrency"', '"concurrence"'))
    problem = (
        f'{running.config}:1: connections.sim.limits.concurrence: unknown key; did you mean "concurrency"?'
    )
    with ChatQueue(elsewhere) as queue:
        until(lambda: queue.overview()["config_problems"] == [problem], "the problem to be told")
    assert f"{running.config} is refused, the settings before it go on: {problem}" in worker.messages()
    told = running.command("doctor", "--config", str(elsewhere))
    assert told.returncode == 1
    assert (
        f"WRONG  workers: they go on with older settings, because the file cannot be used: {problem}"
        in told.stdout
    )
    assert problem in running.command("status", "--config", str(elsewhere)).stdout
    here = running.command("doctor")
    assert here.returncode == 1
    assert (
        'WRONG  config.yaml:1: connections.sim.limits.concurrence: unknown key; did you mean "concurrency"?'
        in here.stdout
    )
    assert running.redis.hgetall("chatq:rules") == rules
    assert running.run("sim", "job:under-the-old-ones").state == "succeeded"
    running.config.write_text(written.replace('"concurrency": 1', '"concurrency": 7'))
    until(lambda: running.redis.hget("chatq:rules", "concurrency:sim") == "7", "the mended file")
    until(lambda: running.queue.overview()["config_problems"] == [], "nothing to be told any more")
    assert running.command("doctor").returncode == 0
    edit(running, lambda settings: settings["connections"]["once"].update(limits={"concurrency": 9}))
    told = running.command("doctor")
    assert (
        "note   connection once: its limits.concurrency is 9, that of another connection of the same account is 7, "
        "and the lowest holds" in told.stdout
    )
    edit(running, lambda settings: settings["connections"]["once"].update(limits={}))


@pytest.mark.thorough
def test_what_needs_a_restart_is_named_and_the_rest_taken_up(running: Installation) -> None:
    def change(settings: dict[str, Any]) -> None:
        settings["worker"]["slots"] = 200
        settings["promptPlaceholder"] = "Begin."

    edit(running, change)
    until(lambda: running.queue.overview()["needs_restart"] == ["worker.slots"], "the key to be named")
    told = running.command("doctor")
    assert "workers: changed, and not taken up: worker.slots" in told.stdout
    job = running.queue.enqueue(
        "sim", messages=[{"role": "assistant", "content": "job:placed"}], post_processing="strict"
    )
    assert running.queue.wait(job.id, WAIT_S).state == "succeeded"
    [request] = running.simulator.control("GET", "requests?job=placed")
    assert request["body"]["messages"][0] == {"role": "user", "content": "Begin."}


@pytest.mark.thorough
def test_another_key_reference_lifts_the_pause_that_the_wrong_key_brought(install: Install) -> None:
    wrong = {"source": "openai", "url": "simulator", "model": "gpt-5-mini", "api_key": "env:FIRST_KEY"}
    installation = install(
        connections={"keyed": wrong}, environ={"FIRST_KEY": WRONG_KEY, "SECOND_KEY": OPENAI_KEY}
    )
    installation.start_worker()
    job = installation.queue.enqueue("keyed", "job:keyed")
    until(lambda: installation.redis.hexists("chatq:paused", "keyed"), "the connection to pause")
    asked_s = time.monotonic()
    edit(installation, lambda settings: settings["connections"]["keyed"].update(api_key="env:SECOND_KEY"))
    record = installation.queue.wait(job.id, WAIT_S)
    assert time.monotonic() - asked_s < TAKEN_UP_S
    assert (record.state, [attempt.counted for attempt in record.attempts]) == ("succeeded", [False, True])


def test_every_worker_takes_the_change_up(install: Install) -> None:
    installation = install()
    installation.start_workers(2)

    def digests() -> set[str]:
        names = installation.registered()
        facts = [json.loads(installation.redis.hget(f"chatq:worker:{name}", "facts")) for name in names]
        return {fact["settings"] for fact in facts}

    before = digests()
    assert len(before) == 1
    edit(installation, lambda settings: settings["connections"]["once"].update(params={"seed": 1}))
    until(lambda: len(digests()) == 1 and digests() != before, "both workers to take it up")


@pytest.mark.thorough
def test_a_worker_that_does_not_know_a_connection_leaves_its_jobs_to_others(install: Install) -> None:
    """Its config.yaml is older; until it has the new one, it hands such jobs on, and none is lost or charged."""
    installation = install()
    installation.start_worker()
    until(installation.leader, "the first worker to lead")
    older = installation.folder / "older.yaml"
    settings = json.loads(installation.config.read_text())
    del settings["connections"]["sim"]
    older.write_text(json.dumps(settings))
    behind = WorkerProcess(older, installation.folder / "behind.log", installation.environ)
    installation.workers.append(behind)
    until(lambda: installation.is_registered(behind), "the second worker to register")
    jobs = [installation.queue.enqueue("sim", f"job:known-to-one-{number}") for number in range(10)]
    records = [installation.queue.wait(job.id, WAIT_S) for job in jobs]
    assert [record.state for record in records] == ["succeeded"] * 10
    assert [len(record.attempts) for record in records] == [1] * 10
    assert any("this worker's config.yaml has no such connection" in line for line in behind.messages())
    assert "WRONG  workers: they run with different settings" in installation.command("doctor").stdout
