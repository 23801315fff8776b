"""`/v1/batches`: OpenAI's batches over the queue."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from front_process import FrontProcess, batch_lines, error_of
from installation import WAIT_S, Installation, until

from chatq.contract.config_file import load_settings
from chatq.http.batch_keeper import BatchKeeper
from chatq.http.batch_store import BatchStore
from chatq.http.file_store import FileStore


def test_a_batch_runs_to_its_files(front: FrontProcess) -> None:
    file = front.upload(batch_lines("job:b1 hi", "job:b2 [sim: no such directive]", "job:b3 hi")).json()
    made = front.batch(file["id"], metadata={"for": "test"}).json()
    assert (made["object"], made["status"], made["input_file_id"]) == ("batch", "validating", file["id"])
    batch = front.ended(made["id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert batch["metadata"] == {"for": "test"}
    assert batch["usage"]["total_tokens"] > 0
    good, bad = front.lines_of(batch["output_file_id"]), front.lines_of(batch["error_file_id"])
    assert {line["custom_id"] for line in good} == {"c0", "c2"}
    assert good[0]["response"]["status_code"] == 200
    assert [(line["custom_id"], line["response"]["status_code"]) for line in bad] == [("c1", 400)]
    output = front.client.get(f"/v1/files/{batch['output_file_id']}").json()
    assert (output["purpose"], output["filename"]) == ("batch_output", f"{batch['id']}_output.jsonl")


def test_what_is_empty_is_no_file(front: FrontProcess) -> None:
    fine = front.ended(front.batch(front.upload(batch_lines("job:b4 hi")).json()["id"]).json()["id"])
    assert fine["error_file_id"] is None
    bad = front.ended(front.batch(front.upload(batch_lines("[sim: no such]")).json()["id"]).json()["id"])
    assert (bad["status"], bad["output_file_id"]) == ("completed", None)


def test_a_batch_with_bad_lines_fails_and_tells_each(front: FrontProcess) -> None:
    lines = batch_lines("job:never hi") + b'{"x": 1}\n\n' + batch_lines("twice")
    batch = front.ended(front.batch(front.upload(lines).json()["id"]).json()["id"])
    assert (batch["status"], batch["request_counts"]["total"]) == ("failed", 0)
    told = [(error["line"], error["code"]) for error in batch["errors"]["data"]]
    assert told == [(2, "invalid_job"), (4, "duplicate_custom_id")]
    assert "never" not in front.installation.calls()


def test_a_batch_without_a_line_fails(front: FrontProcess) -> None:
    batch = front.ended(front.batch(front.upload(b"\n\n").json()["id"]).json()["id"])
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "invalid_job")


def test_lines_that_name_no_connection_go_where_the_batch_says(front: FrontProcess) -> None:
    lines = batch_lines("job:b5 hi").replace(b'"sim"', b'"gpt-5-mini"')
    file_id = front.upload(lines).json()["id"]
    assert front.ended(front.batch(file_id).json()["id"])["status"] == "failed"
    assert error_of(front.batch(file_id, connection="sum")) == (404, "unknown_connection")
    batch = front.ended(front.batch(file_id, connection="openai").json()["id"])
    assert batch["request_counts"]["completed"] == 1


def test_failed_jobs_are_tried_again_as_a_new_batch(front: FrontProcess) -> None:
    lines = batch_lines("job:b30 hi", "job:b31 [sim: status 400] hi")
    old = front.ended(front.batch(front.upload(lines).json()["id"], metadata={"for": "retry"}).json()["id"])
    assert old["request_counts"] == {"total": 2, "completed": 1, "failed": 1}
    wrong = front.client.post(f"/v1/batches/{old['id']}/retry", json={"max_tokens": 0})
    assert error_of(wrong) == (400, "invalid_request")
    made = front.client.post(f"/v1/batches/{old['id']}/retry", json={"max_tokens": 10**6}).json()
    assert (made["retry_of"], made["status"], made["metadata"]) == (old["id"], "validating", {"for": "retry"})
    batch = front.ended(made["id"])
    assert batch["status"] == "completed"
    assert batch["budget"]["max_tokens"] == 10**6
    assert batch["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
    assert [line["custom_id"] for line in front.lines_of(batch["error_file_id"])] == ["c1"]
    assert (front.installation.calls()["b30"], front.installation.calls()["b31"]) == (1, 2)
    again = front.ended(front.client.post(f"/v1/batches/{old['id']}/retry").json()["id"])
    assert (again["status"], again["request_counts"]["total"]) == ("failed", 0)
    assert again["errors"]["data"][0]["code"] == "nothing_to_retry"


def test_of_a_batch_in_which_nothing_failed_nothing_is_tried_again(front: FrontProcess) -> None:
    made = front.ended(front.batch(front.upload(batch_lines("job:b32 hi")).json()["id"]).json()["id"])
    assert error_of(front.client.post(f"/v1/batches/{made['id']}/retry")) == (409, "nothing_to_retry")


def test_of_a_batch_that_was_never_enqueued_nothing_is_tried_again(front: FrontProcess) -> None:
    made = front.ended(front.batch(front.upload(b"\n").json()["id"]).json()["id"])
    assert error_of(front.client.post(f"/v1/batches/{made['id']}/retry")) == (409, "nothing_to_retry")


def test_an_unknown_key_is_named_with_the_nearest_known_one(front: FrontProcess) -> None:
    answer = front.batch("file-" + "0" * 28, conection="sim")
    assert error_of(answer) == (400, "invalid_request")
    assert 'conection: unknown key (did you mean "connection"?)' in answer.json()["error"]["message"]


def test_a_wrong_batch_is_refused(front: FrontProcess) -> None:
    file_id = front.upload(b"x").json()["id"]
    assert error_of(front.batch("file-" + "0" * 28)) == (404, "not_found")
    for keys in (
        {"endpoint": "/v1/embeddings"},
        {"completion_window": "soon"},
        {"completion_window": "31d"},
        {"completion_window": 24},
        {"metadata": {"a": 1}},
        {"metadata": {str(n): "" for n in range(17)}},
        {"connection": 1},
        {"unknown": 1},
        {"max_cost": 0},
        {"max_cost": "1"},
        {"max_cost": True},
        {"max_tokens": 1.5},
        {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
    ):
        assert error_of(front.batch(file_id, **keys)) == (400, "invalid_request")


def test_a_cancelled_batch_keeps_what_is_done(front: FrontProcess) -> None:
    lines = batch_lines("job:b6 hi", "job:b7 hi [sim: latency 60]")
    made = front.batch(front.upload(lines).json()["id"]).json()["id"]
    until(lambda: front.client.get(f"/v1/batches/{made}").json()["request_counts"]["completed"] == 1, "b6")
    assert front.client.post(f"/v1/batches/{made}/cancel").json()["status"] == "cancelling"
    batch = front.ended(made)
    assert batch["status"] == "cancelled"
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    assert [line["custom_id"] for line in front.lines_of(batch["output_file_id"])] == ["c0"]
    assert [line["error"]["code"] for line in front.lines_of(batch["error_file_id"])] == ["batch_cancelled"]
    assert error_of(front.client.post(f"/v1/batches/{made}/cancel")) == (409, "invalid_request")


def test_a_batch_that_two_keepers_come_to_at_once_is_run_by_one(
    front: FrontProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(front.installation.config, environ={})
    batches, files = BatchStore(tmp_path), FileStore(tmp_path)
    (tmp_path / "in").write_bytes(batch_lines("job:b40 hi"))
    facts = {"input_file_id": "file-1", "completion_window": "24h", "window_s": 86_400.0}
    made = batches.make(tmp_path / "in", facts).id
    first, second = (BatchKeeper(settings, batches, files) for _ in range(2))
    begun, go_on = threading.Event(), threading.Event()
    newest_queue = first._newest_queue

    def slow() -> Any:
        begun.set()
        go_on.wait(WAIT_S)
        return newest_queue()

    monkeypatch.setattr(first, "_newest_queue", slow)
    running = threading.Thread(target=first._run, args=(made,))
    running.start()
    begun.wait(WAIT_S)
    second._run(made)
    go_on.set()
    running.join(WAIT_S)
    record = batches.load(made)
    assert record is not None
    assert (record.status, record.completed, record.errors) == ("completed", 1, [])
    assert front.installation.calls()["b40"] == 1
    for keeper in (first, second):
        keeper._queue.close()


@pytest.mark.thorough
def test_what_has_not_begun_in_its_window_expires(front: FrontProcess) -> None:
    front.installation.queue.pause("once")
    try:
        lines = batch_lines("job:b8 hi") + batch_lines("job:b9 hi").replace(b"c0", b"c1").replace(
            b'"sim"', b'"once"'
        )
        made = front.batch(front.upload(lines).json()["id"], completion_window="2s").json()["id"]
        batch = front.ended(made)
    finally:
        front.installation.queue.resume("once")
    assert batch["status"] == "expired"
    assert [line["custom_id"] for line in front.lines_of(batch["output_file_id"])] == ["c0"]
    assert [line["error"]["code"] for line in front.lines_of(batch["error_file_id"])] == ["batch_expired"]


def test_batches_are_listed_in_pages_the_newest_first(front: FrontProcess) -> None:
    file_id = front.upload(b"\n").json()["id"]
    made = [front.batch(file_id).json()["id"] for _ in range(3)]
    page = front.client.get("/v1/batches", params={"limit": 2}).json()
    assert [batch["id"] for batch in page["data"]] == [made[2], made[1]]
    assert (page["object"], page["has_more"]) == ("list", True)
    following = front.client.get("/v1/batches", params={"limit": 1, "after": made[1]}).json()["data"]
    assert [batch["id"] for batch in following] == [made[0]]


def test_the_input_may_be_deleted_once_the_batch_is_made(front: FrontProcess) -> None:
    file_id = front.upload(batch_lines("job:b10 hi")).json()["id"]
    made = front.batch(file_id).json()["id"]
    front.client.delete(f"/v1/files/{file_id}")
    assert front.ended(made)["request_counts"]["completed"] == 1


@pytest.mark.thorough
def test_a_batch_goes_on_where_its_front_was_killed(installed: Installation) -> None:
    count = 300
    lines = batch_lines(*(f"job:fk{n} hi [sim: latency 0.2]" for n in range(count)))
    with FrontProcess(installed) as first:
        made = first.batch(first.upload(lines).json()["id"]).json()["id"]
        until(lambda: first.client.get(f"/v1/batches/{made}").json()["request_counts"]["completed"], "one")
        first.kill()
    with FrontProcess(installed) as second:
        batch = second.ended(made)
        assert batch["request_counts"] == {"total": count, "completed": count, "failed": 0}
        found = [line["custom_id"] for line in second.lines_of(batch["output_file_id"])]
    assert sorted(found) == sorted(f"c{n}" for n in range(count))
    assert {n: installed.calls()[f"fk{n}"] for n in range(count)} == dict.fromkeys(range(count), 1)


@pytest.mark.thorough
def test_a_batch_goes_on_when_who_runs_it_is_killed(front: FrontProcess) -> None:
    lines = batch_lines(*(f"job:kk{n} hi [sim: latency 1]" for n in range(20)))
    made = front.batch(front.upload(lines).json()["id"]).json()["id"]
    until(lambda: front.client.get(f"/v1/batches/{made}").json()["status"] == "in_progress", "it to begin")
    until(lambda: "kk19" in front.installation.calls(), "the last to be called")
    keepers = [
        int(process.parent.name)
        for process in Path("/proc").glob("[0-9]*/cmdline")
        if b"chatq.http\0keeper" in (command := read(process))
        and str(front.installation.config).encode() in command
    ]
    for keeper in keepers:
        os.kill(keeper, signal.SIGKILL)
    batch = front.ended(made)
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert len(front.lines_of(batch["output_file_id"])) == 20


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_what_a_batch_left_on_the_disk_is_its_record(front: FrontProcess) -> None:
    batch = front.ended(front.batch(front.upload(batch_lines("job:b11 hi")).json()["id"]).json()["id"])
    folder = front.installation.data / "http" / "batches" / batch["id"]
    # Its end is told first, and then the rest goes.
    until(lambda: [path.name for path in folder.iterdir()] == ["record.json"], "the rest to go")
    assert json.loads((folder / "record.json").read_text())["status"] == "completed"
    assert folder.stat().st_mode & 0o077 == 0


def test_a_paused_batch_begins_nothing_until_it_is_resumed(front: FrontProcess) -> None:
    front.installation.hold_answers()
    try:
        lines = batch_lines(*(f"job:p{n} hi" for n in range(3)))
        made = front.batch(front.upload(lines).json()["id"]).json()["id"]
        until(lambda: front.client.get(f"/v1/batches/{made}").json()["request_counts"]["total"] == 3, "it")
        until(lambda: front.client.post(f"/v1/batches/{made}/pause").status_code == 200, "it to be enqueued")
        assert front.client.get(f"/v1/batches/{made}").json()["paused_at"] is not None
        resumed = front.client.post(f"/v1/batches/{made}/resume")
        assert resumed.json()["paused_at"] is None
    finally:
        front.installation.release_answers()
    assert front.ended(made)["request_counts"]["completed"] == 3
    assert error_of(front.client.post(f"/v1/batches/{made}/pause")) == (409, "batch_over")


def test_a_batch_whose_budget_is_used_up_waits_for_a_larger(front: FrontProcess) -> None:
    lines = batch_lines(*(f"job:u{n} hi" for n in range(5)))
    made = front.batch(front.upload(lines).json()["id"], max_tokens=1).json()["id"]
    until(lambda: front.client.get(f"/v1/batches/{made}").json()["paused_at"], "it to be paused")
    assert front.client.get(f"/v1/batches/{made}").json()["budget"]["used_up"] == "max_tokens"
    assert error_of(front.client.post(f"/v1/batches/{made}/resume", json={})) == (409, "budget_used_up")
    wrong = front.client.post(f"/v1/batches/{made}/resume", json={"max_tokens": -1})
    assert error_of(wrong) == (400, "invalid_request")
    assert front.client.post(f"/v1/batches/{made}/resume", json={"max_tokens": 10**6}).status_code == 200
    assert front.ended(made)["request_counts"]["completed"] == 5


def test_a_budget_in_dollars_needs_a_price(front: FrontProcess) -> None:
    made = front.batch(front.upload(batch_lines("job:unpriced hi")).json()["id"], max_cost=1.0).json()["id"]
    batch = front.ended(made)
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "unknown_price")
    assert "Give the connection a price" in batch["errors"]["data"][0]["message"]
    assert "unpriced" not in front.installation.calls()
