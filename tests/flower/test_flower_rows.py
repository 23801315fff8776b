"""What Flower shows of jobs: one clean row each, and nothing secret anywhere."""

from __future__ import annotations

import ast
import json

import pytest
from flower_process import FlowerProcess
from installation import OPENAI_KEY, WAIT_S, Installation, until

from chatq import JobRecord

PROMPT = "canary-prompt-0f9a3d"


def test_a_finished_job_is_one_row_under_its_own_id(
    installation: Installation, flower: FlowerProcess
) -> None:
    job = installation.run("sim", "job:finished Say hi")
    row = flower.row(job.id, "SUCCESS")
    assert (row["uuid"], row["name"]) == (job.id, "chatq.complete")


def test_the_arguments_are_connection_model_batch_and_attempt(
    installation: Installation, flower: FlowerProcess
) -> None:
    job = installation.run("sim", "job:arguments Say hi")
    row = flower.row(job.id, "SUCCESS")
    assert ast.literal_eval(row["args"]) == ("sim", "demo", None, 1)
    assert row["kwargs"] == "{}"
    batch = installation.queue.enqueue_batch(["job:arguments-batch Say hi"], connection="openai")
    [record] = installation.follow(batch.id)
    row = flower.row(record.id, "SUCCESS")
    assert ast.literal_eval(row["args"]) == ("openai", "gpt-5-mini", batch.id, 1)


def test_the_result_is_state_tokens_cost_and_latency(
    installation: Installation, flower: FlowerProcess
) -> None:
    job = installation.run("openai", "job:result Say hi")
    assert job.result is not None
    assert f"{job.result.cost_usd:.6f}" == "0.000097"
    shown = ast.literal_eval(flower.row(job.id, "SUCCESS")["result"])
    assert shown.pop("latency_s") == pytest.approx(job.result.latency_s, abs=0.001)
    assert shown == {
        "state": "succeeded",
        "prompt_tokens": job.result.usage.prompt_tokens,
        "completion_tokens": job.result.usage.completion_tokens,
        "cost": "$0.000097",
    }


def test_a_job_that_waits_again_is_shown_as_retried_with_the_reason(
    installation: Installation, flower: FlowerProcess
) -> None:
    job = installation.queue.enqueue("resting", "job:resting Say hi [sim: rate_limit 60 first 1]")
    row = flower.row(job.id, "RETRY")
    installation.queue.cancel(job.id)
    assert row["exception"].startswith("rate_limited: ")
    assert row["traceback"] is None


def test_a_retried_job_that_succeeds_is_one_row_without_the_old_reason(
    installation: Installation, flower: FlowerProcess
) -> None:
    before = len(flower.rows())
    job = installation.run("sim", "job:retried Say hi [sim: server_error 500 first 1]")
    row = flower.row(job.id, "SUCCESS")
    assert row["retried"] is not None
    assert (row["exception"], row["traceback"]) == (None, None)
    assert ast.literal_eval(row["args"]) == ("sim", "demo", None, 2)
    assert len(flower.rows()) == before + 1


def test_a_failed_job_says_why_in_one_line(installation: Installation, flower: FlowerProcess) -> None:
    job = installation.run("once", "job:failed Say hi [sim: server_error 500]")
    row = flower.row(job.id, "FAILURE")
    assert row["exception"].startswith("server_error: ")
    assert "\n" not in row["exception"]
    assert row["traceback"] is None


def test_a_cancelled_job_is_shown_as_revoked(installation: Installation, flower: FlowerProcess) -> None:
    installation.hold_answers()
    job = installation.queue.enqueue("sim", "job:cancelled Say hi")
    installation.await_in_flight(1)
    installation.queue.cancel(job.id)
    installation.queue.wait(job.id, WAIT_S)
    installation.release_answers()
    assert flower.row(job.id, "REVOKED")["revoked"] is not None


def test_terminate_on_a_row_cancels_the_running_job(
    installation: Installation, flower: FlowerProcess
) -> None:
    installation.hold_answers()
    job = installation.queue.enqueue("sim", "job:terminated Say hi")
    installation.await_in_flight(1)
    flower.post(f"/api/task/revoke/{job.id}?terminate=true")
    ended = installation.queue.wait(job.id, WAIT_S)
    installation.release_answers()
    assert ended.state == "cancelled"


@pytest.mark.thorough
def test_a_worker_answers_flower_and_stays_connected(
    installation: Installation, flower: FlowerProcess
) -> None:
    # At the first time Flower has only a part of its second for the answers: it makes its connection.
    workers = until(lambda: json.loads(flower.text("/api/workers?refresh=1")), "the worker to answer Flower")
    (facts,) = workers.values()
    assert "chatq.complete" in facts["registered"]
    installation.run("sim", "job:after-the-broadcast Say hi")
    assert not any("Connection to broker lost" in message for message in installation.workers[0].messages())


def test_neither_prompt_nor_answer_nor_key_nor_token_is_anywhere_in_flower(
    installation: Installation, flower: FlowerProcess
) -> None:
    def run(connection: str, name: str, directive: str = "") -> JobRecord:
        return installation.run(connection, f"job:{name} {PROMPT} {directive}", metadata={"note": PROMPT})

    succeeded = run("openai", "secret-1")
    retried = run("openai", "secret-2", "[sim: server_error 500 first 1]")
    failed = run("once", "secret-3", "[sim: html_page]")
    assert succeeded.result is not None
    assert retried.result is not None
    jobs = {succeeded.id: "SUCCESS", retried.id: "SUCCESS", failed.id: "FAILURE"}
    tokens = [installation.redis.hget(f"chatq:job:{job_id}", "token") for job_id in jobs]
    for job_id, state in jobs.items():
        flower.row(job_id, state)
    worker = next(iter(json.loads(flower.text("/api/workers?refresh=1"))))
    table = (
        "/tasks/datatable?draw=1&start=0&length=100&order%5B0%5D%5Bcolumn%5D=0&columns%5B0%5D%5Bdata%5D=uuid"
    )
    pages = {
        path: flower.text(path)
        for path in (
            *(
                "/",
                "/workers",
                "/workers?json=1",
                f"/worker/{worker}",
                "/tasks",
                table,
                "/broker",
                "/metrics",
            ),
            *("/api/tasks", "/api/workers?refresh=1", "/api/task/types", "/api/queues/length"),
            *(f"{page}/{job_id}" for job_id in jobs for page in ("/task", "/api/task/info")),
        )
    }
    secrets = [PROMPT, OPENAI_KEY, succeeded.result.text, retried.result.text, *tokens]
    assert all(len(secret) > 10 for secret in secrets)
    assert [(path, secret) for path, text in pages.items() for secret in secrets if secret in text] == []
    for path in ("/api/tasks", table):
        assert all(job_id in pages[path] for job_id in jobs), path
