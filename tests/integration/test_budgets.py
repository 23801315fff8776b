"""Budgets with a real worker: a batch stops before it has spent too much, a connection until it may spend again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import WAIT_S, Installation, until
from test_batch_run import names, write_input

from chatq import BudgetUsedUp, NothingToRetry, UnknownPrice

SIMULATED: dict[str, Any] = {"source": "custom", "url": "simulator", "model": "demo"}
TENTH_OF_A_CENT = {"input_per_million": 1000, "output_per_million": 1000}
"""For each token, so that 120 tokens are 12 cents."""
BOUNDED = {"params": {"max_tokens": 100}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation of this module's own, with one worker."""
    connections = {
        "priced": {**SIMULATED, "price": TENTH_OF_A_CENT},
        "daily": {
            **SIMULATED,
            "price": TENTH_OF_A_CENT,
            "limits": {"scope": "daily"},
            "budget": {"per_day_usd": 0.5},
        },
        "listed": {
            "source": "openai",
            "url": "simulator",
            "model": "gpt-5-mini",
            "api_key": "env:TEST_OPENAI_KEY",
            "budget": {"per_day_usd": 5},
        },
    }
    with Installation(tmp_path_factory.mktemp("budgets"), connections=connections) as made:
        made.start_worker()
        yield made


def jobs(name: str, count: int, tokens: int = 60) -> list[dict[str, Any]]:
    return [{"prompt": f"job:{name}-{number} [sim: tokens {tokens}]", **BOUNDED} for number in range(count)]


def last_of(running: Installation, batch_id: str) -> str:
    """The job that was enqueued last."""
    return str(running.redis.lindex(f"chatq:batch:{batch_id}:jobs", -1))


def calls(running: Installation, name: str) -> list[int]:
    """How often each job of this name was sent to the provider."""
    return [count for job, count in running.calls().items() if job.startswith(f"{name}-")]


def test_a_batch_stops_before_it_costs_more_than_it_may_and_goes_on_with_more(running: Installation) -> None:
    batch = running.queue.enqueue_batch(jobs("stops", 30), "priced", max_cost=1.0)
    paused = until(
        lambda: (found := running.queue.batch(batch.id)).paused_at and found, "the batch to be paused"
    )
    assert paused.budget.used_up == "max_cost"
    until(lambda: running.queue.batch(batch.id).counts.running == 0, "the calls in flight to end")
    held = running.queue.batch(batch.id)
    assert held.cost_usd is not None
    assert held.budget is not None
    assert 0.8 < held.cost_usd <= 1.0
    assert held.counts.succeeded == len(calls(running, "stops"))
    assert held.counts.queued == 30 - held.counts.succeeded
    with pytest.raises(
        BudgetUsedUp, match=r"its max_cost of \$1\.00 has not enough left for the next job"
    ) as refused:
        running.queue.resume_batch(batch.id)
    assert f"chatq batch resume {batch.id} --max-cost" in refused.value.remedy
    running.queue.resume_batch(batch.id, max_cost=50)
    assert [record.state for record in running.follow(batch.id)] == ["succeeded"] * 30
    assert calls(running, "stops") == [1] * 30


def test_a_batch_waits_where_no_more_of_its_calls_may_be_in_flight(running: Installation) -> None:
    running.hold_answers()
    batch = running.queue.enqueue_batch(jobs("few", 10), "priced", max_cost=0.5)
    running.await_in_flight(4)
    last = last_of(running, batch.id)
    said = until(lambda: (why := running.queue.why(last)).reason == "budget" and why, "the batch to wait")
    assert (said.budget, said.limit) == ("max_cost", 0.5)
    running.release_answers()
    until(lambda: running.queue.batch(batch.id).paused_at, "the batch to be paused")
    running.queue.cancel_batch(batch.id)


@pytest.mark.thorough
def test_a_batch_in_dollars_is_refused_where_nobody_knows_the_price(
    running: Installation, tmp_path: Path
) -> None:
    kept = running.queue.batches()
    with pytest.raises(UnknownPrice, match="Nobody knows what calls of demo on connection sim cost"):
        running.queue.enqueue_batch(jobs("unpriced", 3), "sim", max_cost=1.0)
    source, output = write_input(tmp_path / "in.jsonl", ["job:unpriced-run"]), tmp_path / "out.jsonl"
    for command in (["submit", str(source)], ["run", str(source), "-o", str(output)]):
        done = running.command("batch", *command, "--max-cost", "1")
        assert (done.returncode, done.stdout) == (2, "")
        assert "Give the connection a price" in done.stderr
    assert list(tmp_path.iterdir()) == [source]
    assert running.queue.batches() == kept
    assert calls(running, "unpriced") == []


@pytest.mark.thorough
def test_the_same_command_with_a_larger_budget_goes_on_with_a_file(
    running: Installation, tmp_path: Path
) -> None:
    source = write_input(
        tmp_path / "in.jsonl", [f"job:file-{n} [sim: tokens 20]" for n in range(12)], "priced"
    )
    output = tmp_path / "out.jsonl"
    run = ["batch", "run", str(source), "-o", str(output), "--max-tokens"]
    command = [sys.executable, "-m", "chatq", *run, "200", "--config", str(running.config)]
    with subprocess.Popen(command, env=running.environ, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        told = first.stderr.readline() + first.stderr.readline()
        first.kill()
    batch = running.queue.batches()[0]
    assert told.startswith(
        f"Batch {batch.id} is paused: its max_tokens of 200 tokens has not enough left for the next job"
    )
    assert f"Raise it, and go on: chatq batch resume {batch.id} --max-tokens N" in told
    shown = running.command("batch", "status", batch.id).stdout
    assert f"{batch.id}: paused: max_tokens is used up;" in shown
    assert " tokens of at most 200, cost" in shown
    refused = running.command(*run, "201")
    assert (
        refused.returncode,
        "its max_tokens of 200 tokens has not enough left for the next job" in refused.stderr,
    ) == (1, True)
    assert running.command(*run, "100000").returncode == 0
    assert sorted(names(output)) == sorted(f"c{n}" for n in range(12))
    assert calls(running, "file") == [1] * 12


def test_what_failed_is_tried_again_with_what_is_left_of_the_budget(running: Installation) -> None:
    failing = [*jobs("left", 2), {"prompt": "[sim: no_such_thing]", **BOUNDED}]
    batch = running.queue.enqueue_batch(failing, "priced", max_tokens=1000)
    assert sorted(str(record.state) for record in running.follow(batch.id)) == [
        "failed",
        "succeeded",
        "succeeded",
    ]
    used = running.queue.batch(batch.id).usage.total_tokens
    again = running.queue.retry_batch(batch.id)
    assert again.budget is not None
    assert (again.budget.max_tokens, again.budget.max_cost_usd) == (1000 - used, None)
    assert [str(record.state) for record in running.follow(again.id)] == ["failed"]


def test_of_a_budget_that_is_gone_nothing_is_tried_again_unless_another_is_named(
    running: Installation,
) -> None:
    """An answer longer than any before it goes beyond the budget, as no max_tokens was given."""
    prompts = ["[sim: no_such_thing]", "job:gone [sim: tokens 2000]"]
    batch = running.queue.enqueue_batch(prompts, "priced", max_tokens=700)
    running.follow(batch.id)
    assert running.queue.batch(batch.id).usage.total_tokens > 2000
    with pytest.raises(BudgetUsedUp, match=f"Nothing is left of the max_tokens of batch {batch.id}"):
        running.queue.retry_batch(batch.id)
    again = running.queue.retry_batch(batch.id, max_tokens=5000)
    assert again.budget is not None
    assert (again.budget.max_tokens, again.counts.total) == (5000, 1)


def test_where_nothing_failed_no_budget_is_asked_for(running: Installation) -> None:
    batch = running.queue.enqueue_batch(["job:all-well [sim: tokens 2000]"], "priced", max_tokens=700)
    running.follow(batch.id)
    with pytest.raises(NothingToRetry):
        running.queue.retry_batch(batch.id)


@pytest.mark.thorough
def test_a_connection_waits_for_its_budget_and_goes_on_when_it_is_raised(running: Installation) -> None:
    batch = running.queue.enqueue_batch(jobs("day", 12), "daily")

    def spending() -> dict[str, Any]:
        return dict(running.queue.overview()["connections"]["daily"]["spending"])

    until(lambda: spending()["goes_on_at"], "the budget of the day to be used up")
    assert spending()["goes_on_at"].endswith("T00:00:00.000Z")
    until(lambda: running.queue.batch(batch.id).counts.running == 0, "the calls in flight to end")
    assert 0.3 < spending()["today_usd"] <= 0.5
    assert spending()["today_usd"] == spending()["cost_usd"] == running.queue.batch(batch.id).cost_usd
    last = last_of(running, batch.id)
    assert (running.queue.why(last).reason, running.queue.why(last).budget) == ("budget", "per_day_usd")
    assert "its budget of the day is used up; goes on at" in running.command("status").stdout
    assert "of $0.50" in running.command("connections", "list").stdout
    assert (
        "daily has used up its budget of the day" in running.command("connections", "limits", "daily").stdout
    )
    assert running.run("priced", "job:beside").state == "succeeded"
    config = json.loads(running.config.read_text())
    config["connections"]["daily"]["budget"]["per_day_usd"] = 20
    running.config.write_text(json.dumps(config))
    assert [record.state for record in running.follow(batch.id)] == ["succeeded"] * 12


def test_a_job_on_another_model_of_unknown_price_fails_and_is_not_called(
    running: Installation,
) -> None:
    job = running.queue.enqueue("listed", "job:other-model", model="model-of-nobody")
    record = running.queue.wait(job.id, WAIT_S)
    assert record.error is not None
    assert (record.error.code, record.attempts) == ("unknown_price", [])
    assert running.run("listed", "job:known-model", params={"max_tokens": 64}).state == "succeeded"


def test_a_worker_does_not_start_with_a_budget_that_it_cannot_count(
    tmp_path: Path, running: Installation
) -> None:
    config = json.loads(running.config.read_text())
    config["connections"]["listed"]["model"] = "model-of-nobody"
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config, indent=1))
    done = running.command("worker", "--config", str(path))
    assert done.returncode == 2
    assert "connections.listed.budget: nobody knows what model-of-nobody costs" in done.stderr
