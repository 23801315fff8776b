"""The chunks of a streamed answer: what came from the provider as it came, and what is missing of it at the end.

Source: OpenAI API reference, "The chat completion chunk object".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from typing import Any, Final

from chatq.contract.errors import ChatQueueError
from chatq.contract.record import Result

_TEXTS: Final = ("content", "reasoning_content", "refusal")


class Broken(ChatQueueError):
    """What was forwarded is not the beginning of the answer."""

    code = "broken_stream"


class Chunks:
    """The chunks of one answer."""

    def __init__(self, job_id: str, model: str, created: int, *, usage: bool) -> None:
        """`usage`: whether the last chunk tells it."""
        self._frame: dict[str, Any] = {
            "id": f"chatcmpl-{job_id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._usage = usage
        self._sent: dict[int, _Sent] = {}

    def of(self, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The chunk of these pieces."""
        told = []
        for choice in choices:
            sent = self._sent.setdefault(choice.get("index", 0), _Sent())
            delta = dict(choice.get("delta") or {})
            if not sent.begun:
                delta = {"role": "assistant", **delta}
            sent.add(delta)
            told.append({"index": 0, **choice, "delta": delta, "logprobs": choice.get("logprobs")})
            told[-1].setdefault("finish_reason", None)
        return self._chunk(told)

    def rest(self, result: Result) -> Iterator[dict[str, Any]]:
        """What the answer has beyond what was sent: all of it, or hardly more than why it ended. Raises `Broken`."""
        for choice in result.response.get("choices") or []:
            index = choice.get("index", 0)
            sent = self._sent.setdefault(index, _Sent())
            delta = sent.missing(choice.get("message") or {})
            if delta:
                yield self.of([{"index": index, "delta": delta}])
            reason = choice.get("finish_reason") or result.finish_reason
            yield self._chunk([{"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}])
        if self._usage:
            yield {**self._chunk([]), "usage": result.response.get("usage") or result.usage.model_dump()}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._frame, "choices": choices, **({"usage": None} if self._usage else {})}


class _Sent:
    """What was sent of one choice."""

    def __init__(self) -> None:
        self.begun = False
        self._texts: dict[str, StringIO] = {}
        self._calls = False

    def add(self, delta: Mapping[str, Any]) -> None:
        self.begun = True
        self._calls = self._calls or bool(delta.get("tool_calls"))
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                self._texts.setdefault(name, StringIO()).write(delta[name])

    def missing(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The delta that makes `message` of what was sent. Raises `Broken`."""
        delta: dict[str, Any] = {}
        for name in _TEXTS:
            whole = message.get(name)
            if not isinstance(whole, str):
                continue
            begun = self._texts[name].getvalue() if name in self._texts else ""
            if not whole.startswith(begun):
                raise Broken(
                    "A part of the stream was lost on the way.",
                    remedy="The whole answer is in the job's record: GET /v1/jobs/{x-request-id}.",
                )
            if len(whole) > len(begun) or not self.begun:
                delta[name] = whole[len(begun) :]
        calls = message.get("tool_calls")
        if calls and not self._calls:
            delta["tool_calls"] = [{"index": place, **call} for place, call in enumerate(calls)]
        return delta
