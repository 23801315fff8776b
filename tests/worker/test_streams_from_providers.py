"""Streams over a real connection: what a provider sends, byte by byte, and the answer or the failure that it makes."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Sequence

import orjson
import pytest

from chatq.contract.connection import Connection, Timeout
from chatq_worker.failures import CallFailed, FailureClass
from chatq_worker.provider_client import HttpProviderClient
from chatq_worker.providers import ADAPTERS, Answer, Chat, Completion
from for_each import for_each

CHAT = Chat([{"role": "user", "content": "Hi"}], "claude-haiku-4-5", params={"max_tokens": 30_000})
ANSWER_BYTES = 100_000
SILENCE_S = 0.3

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""What the provider does once it was asked."""


def event(kind: str, **data: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **data}) + b"\n\n"


def piece(text: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


START = event(
    "message_start", message={"type": "message", "model": "m", "content": [], "usage": {"input_tokens": 3}}
) + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
END = event("content_block_stop", index=0) + event(
    "message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}
)
STOP = event("message_stop")
HELLO = START + piece("H\u00e9l") + event("ping") + piece("lo \U0001f327.") + END + STOP
OVERLOADED = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def head(
    *lines: str,
    status: str = "200 OK",
    kind: str = "text/event-stream; charset=utf-8",
    encoding: str = "identity",
) -> bytes:
    fields = [
        f"HTTP/1.1 {status}",
        f"content-type: {kind}",
        f"content-encoding: {encoding}",
        "request-id: req_7",
        "connection: close",
        *lines,
        "",
        "",
    ]
    return "\r\n".join(fields).encode()


def sends(
    *pieces: bytes, chunked: bool = True, ends: bool = True, pause_s: float = 0, **of_head: str
) -> Script:
    """An answer in these pieces; with `ends` as HTTP wants it, else the connection just closes."""

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(head(*(["transfer-encoding: chunked"] if chunked else ()), **of_head))
        for part in filter(None, pieces):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
        if chunked and ends:
            writer.write(b"0\r\n\r\n")

    return script


def call(
    script: Script, *, total_s: float = 20, silence_s: float = SILENCE_S, answer_bytes: int = ANSWER_BYTES
) -> Answer:
    """What the client makes of a provider that does this."""
    return calls([script], total_s=total_s, silence_s=silence_s, answer_bytes=answer_bytes)[0]


def calls(scripts: Sequence[Script], *, total_s: float, silence_s: float, answer_bytes: int) -> list[Answer]:
    """The answers to one call after the other, by one client."""

    async def story() -> list[Answer]:
        waiting = list(scripts)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = int(asked.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                assert orjson.loads(await reader.readexactly(length))["stream"] is True
                await waiting.pop(0)(writer)
                await writer.drain()
            except ConnectionError:
                pass  # the client has gone
            finally:
                writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            connection = Connection(source="claude", url=f"http://127.0.0.1:{port}")
            client = HttpProviderClient(answer_bytes=lambda: answer_bytes, stream_silence_s=silence_s)
            try:
                request = ADAPTERS["claude"].request(CHAT, connection, "key").request
                timeout = Timeout(connect=min(5, total_s), total=total_s)
                return [await client.send(request, timeout) for _ in scripts]
            finally:
                await client.close()

    return asyncio.run(story())


def read(answer: Answer) -> Completion:
    return ADAPTERS["claude"].read(answer, CHAT, Connection(source="claude"))


def failure(script: Script, **bounds: float) -> CallFailed:
    """The failure that the call is, or that its answer is read as."""
    try:
        completion = read(call(script, **bounds))  # type: ignore[arg-type]
    except CallFailed as failed:
        return failed
    raise AssertionError(f"read as a completion: {completion}")


@for_each("size", [1, 2, 3, 7, 50, 100_000])
def test_a_stream_in_pieces_of_any_size_is_one_answer(size: int) -> None:
    answer = call(sends(*(HELLO[place : place + size] for place in range(0, len(HELLO), size))))

    completion = read(answer)
    assert (answer.status, completion.text, completion.finish_reason) == (
        200,
        "H\u00e9llo \U0001f327.",
        "stop",
    )
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (3, 2)
    assert completion.provider_request_id == "req_7"


def test_a_stream_that_ends_with_the_connection_is_an_answer() -> None:
    assert read(call(sends(HELLO, chunked=False))).text == "H\u00e9llo \U0001f327."


def test_the_last_events_blank_line_may_be_missing() -> None:
    assert read(call(sends(HELLO.removesuffix(b"\n\n")))).text == "H\u00e9llo \U0001f327."


def test_a_server_that_does_not_hang_up_after_the_last_event_is_not_waited_for() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await sends(HELLO, ends=False)(writer)
        await writer.drain()
        await asyncio.sleep(30)

    assert read(call(script, silence_s=60)).text == "H\u00e9llo \U0001f327."


def test_an_answer_that_is_no_stream_is_taken_as_it_is() -> None:
    whole = {"type": "message", "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"}
    assert read(call(sends(orjson.dumps(whole), kind="application/json"))).text == "Hi"


def test_a_refusal_is_no_stream_whatever_it_calls_itself() -> None:
    body = orjson.dumps({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow"}})
    failed = failure(sends(body, status="429 Too Many Requests"))
    assert (failed.code, failed.http_status, failed.provider_message) == ("rate_limited", 429, "Slow")


def test_an_error_event_is_the_failure_that_it_names() -> None:
    failed = failure(sends(START, piece("Hel"), OVERLOADED))
    assert (failed.code, failed.kind) == ("overloaded", FailureClass.RATE_LIMITED)
    assert (failed.http_status, failed.provider_message) == (200, "Overloaded")
    assert failed.provider_request_id == "req_7"


@for_each("cut", [b"", START, START + piece("Hel"), HELLO.removesuffix(STOP), HELLO[:-9]])
def test_a_stream_that_ends_too_early_is_a_bad_answer(cut: bytes) -> None:
    failed = failure(sends(cut))
    assert (failed.code, failed.kind) == ("bad_answer", FailureClass.TRANSIENT)
    assert (failed.http_status, failed.provider_request_id) == (200, "req_7")


def test_a_connection_that_breaks_in_the_middle_of_a_stream_is_a_failure_of_the_connection() -> None:
    failed = failure(sends(START, piece("Hel"), ends=False))
    assert (failed.code, failed.kind) == ("connect_error", FailureClass.TRANSIENT)
    assert "in the middle of its answer" in failed.message


def test_a_stream_that_falls_silent_is_given_up_long_before_the_whole_time_is_over() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await sends(START, piece("Hel"), ends=False)(writer)
        await writer.drain()
        await asyncio.sleep(30)

    failed = failure(script, total_s=25)
    assert (failed.code, failed.kind, failed.http_status) == ("timeout", FailureClass.TRANSIENT, 200)
    assert "fell silent for 0.3 s in the middle of its answer" in failed.message


@pytest.mark.thorough
@pytest.mark.parametrize("sign_of_life", [event("ping"), b": keep-alive\n\n", b"\n"])
def test_a_stream_that_shows_signs_of_life_is_waited_for(sign_of_life: bytes) -> None:
    slowly = sends(START, *[sign_of_life] * 8, piece("Hello."), END, STOP, pause_s=SILENCE_S / 3)
    assert read(call(slowly)).text == "Hello."


def test_a_stream_that_says_nothing_else_ends_with_the_whole_time() -> None:
    failed = failure(sends(START, *[b": keep-alive\n\n"] * 100, pause_s=0.05), total_s=0.6)
    assert failed.code == "timeout"
    assert "within 0.6 s (timeout.total)" in failed.message


def test_the_time_until_a_stream_begins_is_bounded_by_the_whole_time_alone() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3 * SILENCE_S)
        await sends(HELLO)(writer)

    assert read(call(script)).text == "H\u00e9llo \U0001f327."


def test_a_stream_may_be_much_longer_than_the_answer_in_it() -> None:
    words = [piece("word ") for _ in range(6_000)]
    assert len(b"".join(words)) > 5 * ANSWER_BYTES
    assert read(call(sends(START, *words, END, STOP))).text == "word " * 6_000


@for_each(
    "flood",
    [
        pytest.param([piece("x" * 1000)] * 120, id="an answer that is too large"),
        pytest.param([b"data: " + b"x" * 50_000] * 3, id="an event that does not end"),
        pytest.param([b"data: " + b"x" * 9_000 + b"\n"] * 100, id="an event of too many lines"),
        pytest.param([b": " + b"x" * 70_000] * 2, id="a comment that does not end"),
        pytest.param([b": " + b"x" * 50_000 + b"\n\n"] * 40, id="comments without end"),
        pytest.param([piece('"' * 60_000)], id="an answer that is too large once written"),
    ],
)
def test_a_stream_that_brings_too_much_is_refused(flood: list[bytes]) -> None:
    failed = failure(sends(START, *flood, END, STOP))
    assert (failed.code, failed.http_status) == ("answer_too_large", 200)
    assert "larger than 100,000 bytes (bounds.answer_bytes)" in failed.message


def compressed(*pieces: bytes) -> list[bytes]:
    """Each piece compressed and flushed, as a server does that streams."""
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed = [packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH) for part in pieces]
    return [*packed, packer.flush()]


def test_a_compressed_stream_is_unpacked_event_by_event() -> None:
    parts = compressed(START, piece("H\u00e9l"), piece("lo."), END, STOP)
    assert read(call(sends(*parts, encoding="gzip"))).text == "H\u00e9llo."
    assert (
        read(call(sends(*parts[:-1], encoding="gzip"))).text == "H\u00e9llo."
    )  # whole before its checksum came


def test_a_compressed_stream_that_is_cut_off_is_a_bad_answer() -> None:
    failed = failure(sends(*compressed(START, piece("Hel"), END)[:-1], encoding="gzip"))
    assert failed.code == "bad_answer"
    assert "compressed data" in failed.message


@for_each("size", [65_535, 65_536, 65_537, 131_072])
def test_a_compressed_answer_of_any_size_is_unpacked_whole(size: int) -> None:
    whole = {"type": "message", "content": [{"type": "text", "text": ""}], "stop_reason": "end_turn"}
    text = "x" * (size - len(orjson.dumps(whole)))
    whole["content"] = [{"type": "text", "text": text}]
    packed = gzip.compress(orjson.dumps(whole))
    answer = sends(packed, kind="application/json", encoding="gzip")
    assert read(call(answer, answer_bytes=2 * size)).text == text


def test_a_bomb_in_a_stream_is_refused_before_it_goes_off() -> None:
    bomb = gzip.compress(START + b": " + b" " * 100_000_000, compresslevel=1)
    tracemalloc.start()
    try:
        failed = failure(sends(bomb, encoding="gzip"), silence_s=20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert failed.code == "answer_too_large"
    assert peak < 20_000_000


def test_the_client_goes_on_after_every_kind_of_stream() -> None:
    good = sends(HELLO)
    answers = calls([good, good, good], total_s=20, silence_s=5, answer_bytes=ANSWER_BYTES)
    assert [read(answer).text for answer in answers] == ["H\u00e9llo \U0001f327."] * 3
