"""`POST /v1/chat/completions`: a chat completion through the queue, whole or in events."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
from front_process import FrontProcess, chat, error_of
from installation import WAIT_S, until


def events_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The data of a stream's events, up to [DONE], which must come."""
    for line in response.iter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended without [DONE]")


def state(front: FrontProcess, job_id: str) -> str:
    found: str = front.client.get(f"/v1/jobs/{job_id}").json()["state"]
    return found


def test_the_answer_is_openais_chat_completion(front: FrontProcess) -> None:
    answer = front.ask("job:whole hello")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert "answer to job:whole " in body["choices"][0]["message"]["content"]
    assert front.client.get(f"/v1/jobs/{answer.headers['x-request-id']}").json()["state"] == "succeeded"


def test_a_model_may_name_connection_and_model(front: FrontProcess) -> None:
    assert front.ask("job:named hello", model="sim/demo").json()["model"] == "demo"


def test_keys_of_a_job_stand_beside_openais(front: FrontProcess) -> None:
    answer = front.ask("job:beside hello", chatq={"metadata": {"for": "test"}, "priority": 9})
    record = front.client.get(f"/v1/jobs/{answer.headers['x-request-id']}").json()
    assert record["metadata"] == {"for": "test"}


def test_an_unknown_connection_is_a_model_that_is_not_found(front: FrontProcess) -> None:
    answer = front.ask("hello", model="sum")
    assert error_of(answer) == (404, "unknown_connection")
    assert 'did you mean "sim"?' in answer.json()["error"]["message"]


def test_a_request_that_can_never_run_is_told_so(front: FrontProcess) -> None:
    assert error_of(front.client.post("/v1/chat/completions", json={"model": "sim"})) == (400, "invalid_job")
    assert error_of(front.client.post("/v1/chat/completions", json={"messages": []})) == (400, "invalid_job")
    assert error_of(front.ask("x", stream="yes")) == (400, "invalid_job")
    assert error_of(front.ask("x", stream=0)) == (400, "invalid_job")
    assert error_of(front.ask("x", stream_options={})) == (400, "invalid_job")
    assert error_of(front.ask("x", chatq={"connection": "once"})) == (400, "invalid_job")


def test_a_body_that_is_no_json_object_is_told_so(front: FrontProcess) -> None:
    for body in (b"", b"[1]", b"{", b"\xff", b"[" * 100_000):
        answer = front.client.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
        assert error_of(answer) == (400, "invalid_request")


def test_what_the_provider_refuses_is_refused_with_its_status_and_words(front: FrontProcess) -> None:
    answer = front.ask("job:refused [sim: no such directive]")
    assert error_of(answer) == (400, "invalid_request")
    assert "unknown directive" in answer.json()["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"


def test_what_the_provider_cannot_do_is_a_bad_gateway(front: FrontProcess) -> None:
    assert error_of(front.ask("job:broken [sim: server_error]", model="once"))[0] == 502


def test_a_stream_ends_with_why_and_done(front: FrontProcess) -> None:
    with front.client.stream("POST", "/v1/chat/completions", json=chat("job:s1 hi", stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        chunks = list(events_of(answer))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert "answer to job:s1 " in text
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] == "stop"


def test_a_stream_tells_usage_when_it_is_asked_to(front: FrontProcess) -> None:
    request = chat("job:s2 hi", stream=True, stream_options={"include_usage": True})
    with front.client.stream("POST", "/v1/chat/completions", json=request) as answer:
        *others, last = events_of(answer)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0
    assert {chunk["usage"] for chunk in others} == {None}


def test_a_stream_that_fails_before_its_first_event_has_the_status_of_the_failure(
    front: FrontProcess,
) -> None:
    answer = front.ask("job:s3 [sim: no such directive]", stream=True)
    assert error_of(answer) == (400, "invalid_request")


def test_deltas_come_while_the_provider_still_speaks(front: FrontProcess) -> None:
    request = chat("job:s4 hi [sim: slow_drip 3]", stream=True)
    with front.client.stream("POST", "/v1/chat/completions", json=request) as answer:
        chunks = events_of(answer)
        first = next(chunks)
        assert state(front, answer.headers["x-request-id"]) == "running"
        rest = list(chunks)
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in (first, *rest)]
    assert sum(map(bool, pieces)) > 2
    record = front.client.get(f"/v1/jobs/{answer.headers['x-request-id']}").json()
    assert "".join(pieces) == record["result"]["text"]


def test_who_leaves_cancels(front: FrontProcess) -> None:
    front.installation.hold_answers()
    try:
        for stream in (False, True):
            leave_in_the_middle(front, chat(f"job:leaves-{stream} hi", stream=stream))
    finally:
        front.installation.release_answers()


def leave_in_the_middle(front: FrontProcess, request: dict[str, Any], **headers: str) -> None:
    """Ask, and leave once the provider works on it; the job must be cancelled."""
    before = front.installation.simulator.counts()["total"]["in_flight"]
    with httpx.Client(base_url=front.url, trust_env=False) as client:
        asked = threading.Thread(target=ask_and_be_cut_off, args=(client, request, headers))
        asked.start()
        front.installation.await_in_flight(before + 1)
    asked.join(WAIT_S)
    until(
        lambda: front.installation.simulator.counts()["total"]["in_flight"] == before,
        "the call to be given up",
    )


def ask_and_be_cut_off(client: httpx.Client, request: dict[str, Any], headers: dict[str, str]) -> None:
    try:
        client.post("/v1/chat/completions", json=request, headers=headers, timeout=1)
    except httpx.HTTPError:
        return
    raise AssertionError("an answer came")


def test_the_same_idempotency_key_is_the_same_job(front: FrontProcess) -> None:
    headers = {"idempotency-key": "key-1"}
    answers = [front.ask("job:same hi", headers=headers) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    assert front.installation.calls()["same"] == 1
    assert error_of(front.ask("job:other hi", headers=headers)) == (409, "conflict")


def test_who_left_with_an_idempotency_key_may_come_back_for_the_job(front: FrontProcess) -> None:
    headers = {"idempotency-key": "key-2"}
    front.installation.hold_answers()
    try:
        with httpx.Client(base_url=front.url, trust_env=False) as client:
            ask_and_be_cut_off(client, chat("job:back hi"), headers)
    finally:
        front.installation.release_answers()
    answer = front.ask("job:back hi", headers=headers)
    assert answer.status_code == 200
    assert front.installation.calls()["back"] == 1


def test_a_job_that_was_cancelled_with_its_client_goes_anew_under_its_key(front: FrontProcess) -> None:
    headers = {"idempotency-key": "key-3"}
    front.installation.hold_answers()
    try:
        with httpx.Client(base_url=front.url, trust_env=False) as client:
            ask_and_be_cut_off(client, chat("job:anew hi"), headers)
        running = front.installation.queue.enqueue("sim", "job:anew hi", idempotency_key="key-3")
        front.installation.queue.cancel(running.id)
        front.installation.queue.wait(running.id, WAIT_S)
    finally:
        front.installation.release_answers()
    assert front.ask("job:anew hi", headers=headers).status_code == 200
