"""A connection that an operator pauses: its jobs wait, whoever waits for them is told, and a resume lets them go."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from installation import WAIT_S, Installation

from chatq import AsyncChatQueue, ConnectionPaused, JobRecord, WaitTimeout

NAME = "halted"
RESUME = f"chatq connections resume {NAME}"


@pytest.fixture
def waiting(installation: Installation, request: pytest.FixtureRequest) -> Iterator[JobRecord]:
    """A job of a paused connection. In the end the connection is resumed and the job has run."""
    installation.queue.pause(NAME, "The bill is being looked at.")
    job = installation.queue.enqueue(NAME, f"job:{request.node.name} Say hi")
    yield job
    installation.queue.resume(NAME)
    assert installation.queue.wait(job.id, WAIT_S).final


def test_a_paused_connections_jobs_are_not_called_until_it_is_resumed(
    installation: Installation, waiting: JobRecord, request: pytest.FixtureRequest
) -> None:
    assert installation.run("sim", "job:while-another-is-paused").state == "succeeded"
    assert installation.queue.get(waiting.id).state == "queued"
    assert installation.simulator.counts(request.node.name)["received"] == 0
    assert installation.queue.resume(NAME)
    assert installation.queue.wait(waiting.id, WAIT_S).state == "succeeded"


def test_why_says_who_paused_it_and_how_it_ends(installation: Installation, waiting: JobRecord) -> None:
    ended = installation.command("why", waiting.id)
    assert ended.returncode == 0
    first, *_, last = ended.stdout.splitlines()
    assert first.startswith(f"Connection {NAME} is paused since 20")
    assert first.endswith("The bill is being looked at.")
    assert last == f"Resume it: {RESUME}"
    told = json.loads(installation.command("why", waiting.id, "--json").stdout)
    assert (told["reason"], told["state"], told["paused"]["code"]) == ("paused", "queued", "operator")
    assert (told["expected_at"], told["worker"]) == (None, None)


@pytest.mark.thorough
def test_waiting_for_a_result_ends_with_the_reason_and_the_way_back(
    installation: Installation, waiting: JobRecord
) -> None:
    ended = installation.command("result", waiting.id, "--wait")
    assert (ended.returncode, ended.stdout) == (1, "")
    said, *remedies = ended.stderr.splitlines()
    assert f"Job {waiting.id} waits. Connection {NAME} is paused since" in said
    assert "The bill is being looked at." in said
    assert remedies == [
        f"Resume it: {RESUME}",
        f"The job stays in line; come back with: chatq result {waiting.id} --wait",
    ]
    assert installation.queue.get(waiting.id).state == "queued"


@pytest.mark.thorough
def test_who_leaves_the_wait_is_told_how_to_come_back(installation: Installation) -> None:
    installation.hold_answers()
    command = [sys.executable, "-m", "chatq", "submit", "sim", "job:left Say hi", "--wait"]
    command += ["--config", str(installation.config)]
    with subprocess.Popen(command, env=installation.environ, stderr=subprocess.PIPE, text=True) as waits:
        installation.await_in_flight(1)
        waits.send_signal(signal.SIGINT)
        _, told = waits.communicate(timeout=WAIT_S)
    installation.release_answers()
    enqueued, _, back = told.splitlines()
    job_id = enqueued.split()[1]
    assert waits.returncode == 130
    assert back == f"The job goes on; come back with: chatq result {job_id} --wait"
    assert installation.queue.wait(job_id, WAIT_S).state == "succeeded"


@pytest.mark.thorough
def test_submit_with_wait_ends_as_well_and_prints_the_record_for_machines(
    installation: Installation, waiting: JobRecord
) -> None:
    ended = installation.command("submit", NAME, "job:submitted-meanwhile Say hi", "--wait", "--json")
    assert ended.returncode == 1
    record = json.loads(ended.stdout)
    assert record["state"] == "queued"
    assert record["id"] != waiting.id
    assert RESUME in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.thorough
def test_a_wait_goes_on_to_its_timeout_and_says_why(installation: Installation, waiting: JobRecord) -> None:
    with pytest.raises(WaitTimeout, match=f"Connection {NAME} is paused since") as caught:
        installation.queue.wait(waiting.id, timeout=1.2)
    assert RESUME in caught.value.remedy


@pytest.mark.thorough
def test_a_test_message_is_cancelled_and_says_why(installation: Installation, waiting: JobRecord) -> None:
    with pytest.raises(ConnectionPaused, match="The bill is being looked at") as caught:
        installation.queue.test_message(NAME)
    assert (caught.value.code, caught.value.connection) == ("paused", NAME)
    assert caught.value.remedy == f"Resume it: {RESUME}"
    assert "The test message was cancelled." in caught.value.message
    ended = installation.command("connections", "test", NAME)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert RESUME in ended.stderr
    assert installation.queue.overview()["connections"][NAME]["waiting"] == 1  # `waiting` alone


def test_a_check_goes_past_the_pause_and_says_that_jobs_do_not(
    installation: Installation, waiting: JobRecord
) -> None:
    ended = installation.command("connections", "check", NAME)
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"{NAME}: ok")
    assert f"note: {NAME} is paused: The bill is being looked at." in ended.stderr
    assert RESUME in ended.stderr


def test_the_status_shows_the_pause_with_its_remedy(installation: Installation, waiting: JobRecord) -> None:
    ended = installation.command("status")
    [row] = [line for line in ended.stdout.splitlines() if line.startswith(f"{NAME} ") and "custom" in line]
    assert row.split()[2:4] == ["1", "0"]
    assert row.endswith("  paused: operator")
    assert f"  Resume it: {RESUME}" in ended.stdout.splitlines()
    told = json.loads(installation.command("status", "--json").stdout)["connections"][NAME]
    assert told["paused"].keys() >= {"code", "message", "since"}
    assert (told["paused"]["code"], told["breaker"], told["served_by"]) == ("operator", "closed", None)


def test_the_list_of_connections_shows_the_pause(installation: Installation, waiting: JobRecord) -> None:
    heads, row = installation.command("connections", "list", NAME).stdout.splitlines()
    assert heads.endswith("CONDITION")
    assert row.endswith("  paused: operator")
    [told] = json.loads(installation.command("connections", "list", NAME, "--json").stdout)
    assert (told["paused"]["code"], told["cooling_until"], told["breaker"]) == ("operator", None, "closed")


def test_doctor_names_a_paused_connection(installation: Installation, waiting: JobRecord) -> None:
    ended = installation.command("doctor")
    assert ended.returncode == 1
    assert f"connection {NAME}: it is paused: The bill is being looked at." in ended.stdout


def test_pause_and_resume_from_the_command_line(installation: Installation) -> None:
    paused = installation.command("connections", "pause", NAME, "--message", "Lunch.")
    assert (paused.returncode, paused.stdout) == (0, f"{NAME} is paused. Resume it: {RESUME}\n")
    assert installation.queue.limits(NAME).paused.message == "Lunch."  # type: ignore[union-attr]
    resumed = installation.command("connections", "resume", NAME)
    assert (resumed.returncode, resumed.stdout) == (0, f"{NAME} is resumed.\n")
    again = installation.command("connections", "resume", NAME, "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == {"connection": NAME, "paused": False, "resumed": False}


@pytest.mark.thorough
def test_the_asynchronous_queue_has_the_same(installation: Installation) -> None:
    async def story() -> list[object]:
        async with AsyncChatQueue(installation.config) as queue:
            await queue.pause(NAME)
            job = await queue.enqueue(NAME, "job:asynchronous Say hi")
            told: list[object] = [(await queue.why(job.id)).reason, (await queue.limits(NAME)).connection]
            with pytest.raises(ConnectionPaused):
                await queue.wait(job.id, through_pauses=False)
            told.append(await queue.resume(NAME))
            return [*told, (await queue.wait(job.id, WAIT_S)).state, (await queue.why(job.id)).message]

    assert asyncio.run(story()) == ["paused", NAME, True, "succeeded", "It has succeeded."]


def test_limits_are_told_as_a_table_and_as_json(installation: Installation) -> None:
    installation.run("limited", "job:limits-told Say hi")
    ended = installation.command("connections", "limits", "limited")
    assert ended.returncode == 0
    lines = ended.stdout.splitlines()
    assert lines[0] == "limited, all models (lane @limited)"
    assert lines[1].split() == ["ALLOWANCE", "SET", "LEARNED", "FOUND", "USED", "NOW", "NEXT", "MAY", "GO"]
    assert lines[2].split()[:6] == ["requests", "a", "minute", "6,000", "-", "-"]
    assert "  in flight: 0 (of 7)" in lines
    assert lines[-1] == "limited: cost today unknown, in all unknown"
    told = json.loads(installation.command("connections", "limits", "limited", "--json").stdout)
    assert told["connection"] == "limited"
    [lane] = told["lanes"]
    assert (lane["concurrency"], lane["allowances"][0]["set"]) == (7, 6000)
