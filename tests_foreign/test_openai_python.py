"""What else OpenAI's official Python client does, as it is, against `chatq serve`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foreign_client import ForeignClient
from front_process import FrontProcess, batch_lines
from installation import until

CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "clock",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string"}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}


def test_a_downloaded_file_is_the_upload_to_the_byte(openai_python: ForeignClient, tmp_path: Path) -> None:
    file_id = openai_python.plays("upload")
    openai_python.plays("download", file_id=file_id, path=str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b"{}\n"


def test_a_list_ends_with_the_oldest(openai_python: ForeignClient, front: FrontProcess) -> None:
    made = [openai_python.plays("upload") for _ in range(3)]
    found = openai_python.plays("all_files", page=2)
    assert found[:3] == made[::-1]
    assert found == [file["id"] for file in front.client.get("/v1/files").json()["data"]]


def test_a_batch_of_an_unknown_file_is_not_found(openai_python: ForeignClient) -> None:
    error = openai_python.error_of("create_batch_of", file_id="file-" + "0" * 28)
    assert (error["class"], error["status"]) == ("NotFoundError", 404)


def test_a_raw_answer_has_the_jobs_id_as_its_request_id(
    openai_python: ForeignClient, front: FrontProcess
) -> None:
    answer = openai_python.plays("complete_raw", content="job:p1 hi")
    assert (answer["status"], answer["content_type"]) == (200, "application/json")
    assert answer["request_id"] == answer["parsed_request_id"]
    record = front.client.get(f"/v1/jobs/{answer['request_id']}").json()
    assert record["result"]["text"] == answer["text"]


def test_a_tool_is_called_and_its_result_is_answered(openai_python: ForeignClient) -> None:
    found = openai_python.plays(
        "use_tool", content="job:p2 [sim: call_tool clock]", tool=CLOCK, result="noon"
    )
    assert found["first"]["finish_reason"] == "tool_calls"
    [call] = found["first"]["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "clock")
    assert list(json.loads(call["function"]["arguments"])) == ["zone"]
    assert found["second"]["finish_reason"] == "stop"
    assert "answer to job:p2 " in found["second"]["message"]["content"]


def test_the_stream_helper_puts_a_tools_call_together(openai_python: ForeignClient) -> None:
    found = openai_python.plays("stream_helper", content="job:p3 [sim: call_tool clock]", tools=[CLOCK])
    [choice] = found["whole"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "clock"
    assert list(json.loads(call["function"]["arguments"])) == ["zone"]


def test_a_stream_that_fails_before_it_begins_is_the_same_error(openai_python: ForeignClient) -> None:
    error = openai_python.error_of("stream", content="job:p4 [sim: no such directive]")
    assert (error["class"], error["status"], error["code"]) == ("BadRequestError", 400, "invalid_request")


def test_a_stream_that_breaks_off_is_an_error_of_the_stream(openai_python: ForeignClient) -> None:
    error = openai_python.error_of("stream", content="job:p5 hi [sim: error_mid_stream; tokens 50]")
    assert (error["class"], error["type"]) == ("APIError", "server_error")


def test_who_leaves_a_stream_cancels_the_job(openai_python: ForeignClient, front: FrontProcess) -> None:
    job_id = openai_python.plays("stream_and_leave", content="job:p6 hi [sim: slow_drip 20; tokens 200]")
    assert ended(front, job_id) == "cancelled"


def test_a_client_that_times_out_cancels_the_job(openai_python: ForeignClient, front: FrontProcess) -> None:
    error = openai_python.error_of(
        "complete_impatiently", content="job:p7 hi [sim: latency 60]", job_id="p7", timeout=1
    )
    assert error["class"] == "APITimeoutError"
    assert ended(front, "p7") == "cancelled"


def ended(front: FrontProcess, job_id: str) -> str:
    """The state in which the job ends."""

    def look() -> str | None:
        state: str = front.client.get(f"/v1/jobs/{job_id}").json()["state"]
        return state if state in {"succeeded", "failed", "cancelled", "expired"} else None

    state: str = until(look, "the job to end")
    return state


def test_a_client_that_asks_again_under_its_idempotency_key_gets_the_first_calls_answer(
    openai_python: ForeignClient, front: FrontProcess
) -> None:
    found = openai_python.plays(
        "complete_patiently",
        content="job:p8 hi [sim: latency 2]",
        idempotency_key="p8",
        timeout=1,
        max_retries=20,
    )
    assert found["retries"] > 0
    assert front.installation.calls()["p8"] == 1


def test_another_request_under_the_same_idempotency_key_is_a_conflict(openai_python: ForeignClient) -> None:
    keys: dict[str, Any] = {"idempotency_key": "p9", "timeout": 30, "max_retries": 0}
    openai_python.plays("complete_patiently", content="job:p9 hi", **keys)
    error = openai_python.error_of("complete_patiently", content="job:p9 another", **keys)
    assert (error["class"], error["status"], error["code"]) == ("ConflictError", 409, "conflict")


def test_what_the_queue_has_tried_in_vain_the_client_does_not_try_again(
    openai_python: ForeignClient, front: FrontProcess
) -> None:
    error = openai_python.error_of("complete", content="job:p10 [sim: server_error]", model="once")
    assert (error["class"], error["status"]) == ("InternalServerError", 502)
    assert front.installation.calls()["p10"] == 1


def test_a_token_is_asked_for(openai_python: ForeignClient, guarded: FrontProcess) -> None:
    error = openai_python.error_of("models", url=guarded.url, key="wrong-token")
    assert (error["class"], error["status"], error["type"]) == (
        "AuthenticationError",
        401,
        "authentication_error",
    )
    assert openai_python.plays("models", url=guarded.url, key="acme-token-1")


def test_anothers_file_is_not_found(openai_python: ForeignClient, guarded: FrontProcess) -> None:
    file_id = openai_python.plays("upload", url=guarded.url, key="acme-token-1")
    error = openai_python.error_of("file", url=guarded.url, key="globex-token-1", file_id=file_id)
    assert (error["class"], error["status"]) == ("NotFoundError", 404)


def test_the_asynchronous_client_waits_for_many_at_once(openai_python: ForeignClient) -> None:
    texts = openai_python.plays("complete_at_once", contents=[f"job:pa{n} hi" for n in range(20)])
    assert [f"answer to job:pa{n} " in text for n, text in enumerate(texts)] == [True] * 20


def test_the_asynchronous_client_reads_a_stream(openai_python: ForeignClient) -> None:
    assert "answer to job:pb " in openai_python.plays("stream_asynchronously", content="job:pb hi")


def test_the_asynchronous_client_runs_a_batch_and_finds_it_in_the_list(openai_python: ForeignClient) -> None:
    found = openai_python.plays("batch_asynchronously", lines=batch_lines("job:pc hi", "job:pd hi").decode())
    assert found["batch"]["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert sorted(line["custom_id"] for line in found["output"]) == ["c0", "c1"]
    assert found["listed"] is True
