"""The main path of OpenAI's official clients for Python and for Node, as they are, against `chatq serve`."""

from __future__ import annotations

import pytest

from foreign_client import ForeignClient
from front_process import FrontProcess, batch_lines


@pytest.fixture(params=["openai_python", "openai_node"])
def client(request: pytest.FixtureRequest) -> ForeignClient:
    """Each of the two."""
    made: ForeignClient = request.getfixturevalue(request.param)
    return made


def lines(*prompts: str) -> str:
    return batch_lines(*prompts).decode()


def test_a_batch_goes_from_its_upload_to_its_files(client: ForeignClient) -> None:
    started = client.plays(
        "start_batch",
        lines=lines("job:c1 hi", "job:c2 [sim: no such directive]", "job:c3 hi"),
        metadata={"for": "test"},
    )
    assert (started["file"]["object"], started["file"]["purpose"], started["file"]["status"]) == (
        "file",
        "batch",
        "processed",
    )
    assert started["batch"]["status"] == "validating"
    batch = client.plays("end_of_batch", batch_id=started["batch"]["id"])
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    assert batch["metadata"] == {"for": "test"}
    output = client.plays("lines_of_file", file_id=batch["output_file_id"])
    errors = client.plays("lines_of_file", file_id=batch["error_file_id"])
    texts = {
        line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in output
    }
    assert sorted(texts) == ["c0", "c2"]
    assert "answer to job:c3 " in texts["c2"]
    assert [line["custom_id"] for line in errors] == ["c1"]


def test_a_batch_whose_every_line_fails_has_no_output_file(client: ForeignClient) -> None:
    started = client.plays("start_batch", lines=lines("job:c4 [sim: no such directive]"))
    batch = client.plays("end_of_batch", batch_id=started["batch"]["id"])
    assert (batch["status"], batch["output_file_id"]) == ("completed", None)
    assert len(client.plays("lines_of_file", file_id=batch["error_file_id"])) == 1


def test_a_batch_that_is_not_valid_fails_and_names_every_bad_line(client: ForeignClient) -> None:
    text = lines("job:c5 hi") + "{nonsense\n" + lines("job:c5 hi")
    started = client.plays("start_batch", lines=text)
    batch = client.plays("end_of_batch", batch_id=started["batch"]["id"])
    assert batch["status"] == "failed"
    assert batch["errors"]["object"] == "list"
    assert [error["line"] for error in batch["errors"]["data"]] == [2, 3]
    assert all(error["code"] and error["message"] for error in batch["errors"]["data"])


def test_a_batch_may_be_cancelled(client: ForeignClient, front: FrontProcess) -> None:
    front.installation.hold_answers()
    try:
        started = client.plays("start_batch", lines=lines("job:c6 hi", "job:c7 hi"))
        batch_id = started["batch"]["id"]
        assert client.plays("cancel_batch", batch_id=batch_id)["status"] == "cancelling"
        batch = client.plays("end_of_batch", batch_id=batch_id)
    finally:
        front.installation.release_answers()
    assert batch["status"] == "cancelled"
    error = client.error_of("cancel_batch", batch_id=batch_id)
    assert (error["class"], error["status"]) == ("ConflictError", 409)


def test_the_clients_walk_through_every_page_of_files(client: ForeignClient) -> None:
    made = [client.plays("upload") for _ in range(5)]
    assert client.plays("newest_files", count=5, page=2) == made[::-1]


def test_the_clients_walk_through_every_page_of_batches(client: ForeignClient) -> None:
    made = [client.plays("start_batch", lines="\n")["batch"]["id"] for _ in range(5)]
    assert client.plays("newest_batches", count=5, page=2) == made[::-1]


def test_a_file_that_was_deleted_is_not_found(client: ForeignClient) -> None:
    file_id = client.plays("upload")
    assert client.plays("file", file_id=file_id)["filename"] == "in.jsonl"
    assert client.plays("delete_file", file_id=file_id) is True
    error = client.error_of("file", file_id=file_id)
    assert (error["class"], error["status"], error["code"]) == ("NotFoundError", 404, "not_found")


def test_an_upload_for_something_else_is_a_bad_request_about_its_purpose(client: ForeignClient) -> None:
    error = client.error_of("upload", purpose="fine-tune")
    assert (error["class"], error["status"], error["param"]) == ("BadRequestError", 400, "purpose")


def test_a_chat_completion(client: ForeignClient) -> None:
    answer = client.plays("complete", content="job:c8 hi")
    assert answer["object"] == "chat.completion"
    assert "answer to job:c8 " in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["total_tokens"] > 0


def test_a_streamed_chat_completion_says_the_same_in_chunks_and_then_its_usage(client: ForeignClient) -> None:
    *chunks, last = client.plays("stream", content="job:c9 hi [sim: say one two three four]")
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert "one two three four" in text
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0


def test_the_clients_stream_helpers_put_the_whole_together(client: ForeignClient) -> None:
    found = client.plays("stream_helper", content="job:c10 hi")
    text = found["whole"]["choices"][0]["message"]["content"]
    assert "answer to job:c10 " in text
    assert "".join(found["deltas"]) == text


def test_models_are_connections_and_their_models(client: ForeignClient, front: FrontProcess) -> None:
    front.installation.queue.check("sim")
    models = {model["id"]: model["owned_by"] for model in client.plays("models")}
    assert models["sim"] == models["sim/demo"] == "custom"
    assert models["openai"] == "openai"
    assert client.plays("model", model_id="sim")["object"] == "model"
    assert client.plays("model", model_id="sim/demo")["id"] == "sim/demo"
    assert client.error_of("model", model_id="sum")["class"] == "NotFoundError"


def test_an_unknown_model_is_not_found_and_the_nearest_is_named(client: ForeignClient) -> None:
    error = client.error_of("complete", content="hi", model="sum")
    assert (error["class"], error["status"], error["code"]) == ("NotFoundError", 404, "unknown_connection")
    assert 'did you mean "sim"?' in error["message"]


def test_what_the_provider_refuses_is_a_bad_request_in_its_words(client: ForeignClient) -> None:
    error = client.error_of("complete", content="job:c11 [sim: no such directive]")
    assert (error["class"], error["status"], error["code"]) == ("BadRequestError", 400, "invalid_request")
    assert "unknown directive" in error["message"]
