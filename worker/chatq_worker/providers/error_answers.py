"""Reading an answer that is no success: which failure it is, in the provider's own words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from chatq_worker.failures import CODES, CallFailed, FailureClass
from chatq_worker.providers.adapter import Answer
from chatq_worker.providers.charging import charging_of
from chatq_worker.providers.error_signs import (
    OF_ALL,
    OF_SOURCE,
    OF_STATUS,
    REQUEST_ID_HEADERS,
    STATUS_OF_WORD,
    Sign,
)
from chatq_worker.providers.retry_after import retry_after_s, should_retry

_SHOWN_CHARACTERS: Final = 500
_SEARCHED_BYTES: Final = 16_384
_MARKUP: Final = (b"<!doctype", b"<html", b"<?xml")


def json_of(answer: Answer) -> Any:
    """The answer's JSON; blank keep-alive lines around it do not matter.

    Raises `CallFailed` (bad_answer) when it is none, which includes NaN, half a document and invalid UTF-8.
    """
    try:
        return orjson.loads(answer.body.strip())
    except orjson.JSONDecodeError:
        what = "a web page" if _is_markup(answer) else "something that is not JSON"
        raise bad_answer(answer, f"{what}, status {answer.status}") from None


def object_of(answer: Answer, source: str) -> dict[str, Any]:
    """The JSON object of a 2xx answer. Raises `CallFailed`, classified, for every other answer."""
    if not 200 <= answer.status < 300:
        raise failure_of(answer, source)
    data = json_of(answer)
    if not isinstance(data, dict):
        raise bad_answer(answer, "not a JSON object")
    return data


def bad_answer(answer: Answer, what: str) -> CallFailed:
    """A failure (bad_answer) of an answer that is `what`."""
    return CallFailed(
        "bad_answer",
        f"The provider's answer is {what}.",
        http_status=answer.status,
        provider_request_id=request_id_of(answer),
    )


def failure_of(answer: Answer, source: str) -> CallFailed:
    """What an answer that is no success means."""
    data = _json_or_none(answer)
    return _failure(answer, source, data, answer.status, f"The provider answered {answer.status}.")


def failure_inside(answer: Answer, source: str, data: Mapping[str, Any]) -> CallFailed:
    """What an error in the body of an answer that calls itself a success means: a failure of the provider's server,
    unless its own code is an HTTP status that says something else, or a word that goes with one."""
    message = f"The provider answered {answer.status} with an error inside."
    return _failure(answer, source, data, _status_inside(source, data), message)


def _status_inside(source: str, data: Mapping[str, Any]) -> int:
    error = data.get("error")
    if isinstance(error, Mapping):
        code = error.get("code")
        text = code if isinstance(code, str) else str(code) if type(code) is int else ""
        if len(text) == 3 and text.isascii() and text.isdigit() and 400 <= int(text) < 600:
            return int(text)
    known = STATUS_OF_WORD.get(source, {})
    return next((known[word] for word in _words(data) if word in known), 500)


def message_of(data: Any, answer: Answer) -> str:
    """The provider's own words, wherever its error shape keeps them; at most 500 characters, on one line."""
    if isinstance(data, list) and data:
        data = data[0]
    text = _said(data) if isinstance(data, Mapping) else ""
    if not text:
        text = answer.body[: 8 * _SHOWN_CHARACTERS].decode("utf-8", "replace")
    return " ".join(text.split())[:_SHOWN_CHARACTERS]


def request_id_of(answer: Answer, data: Any = None) -> str | None:
    """The id under which the provider knows the call: of a header, or of the body of an error."""
    for name in REQUEST_ID_HEADERS:
        value = answer.headers.get(name)
        if value:
            return value
    if isinstance(data, Mapping):
        for name in ("request_id", "id"):
            if isinstance(data.get(name), str) and data[name]:
                return str(data[name])
    return None


def _failure(answer: Answer, source: str, data: Any, status: int, message: str) -> CallFailed:
    said = message_of(data, answer)
    sign = _sign(answer, source, data, status, said)
    retry_s = retry_after_s(answer.headers, answer.body[:_SEARCHED_BYTES].decode("utf-8", "replace"))
    code = sign.code if sign else _of_status(answer, data, status, retry_s)
    kind = CODES[code].kind
    told = should_retry(answer.headers)
    if told is False and kind in (FailureClass.RATE_LIMITED, FailureClass.TRANSIENT):
        # A limit that waiting will not lift is an exhausted one.
        code = "quota_exhausted" if kind is FailureClass.RATE_LIMITED else "refused"
    elif told is True and kind is FailureClass.REQUEST:
        code = "server_error"
    kind = CODES[code].kind
    ban_s = charging_of(source).ban_s
    if kind is FailureClass.RATE_LIMITED and ban_s:
        retry_s = max(retry_s or 0.0, ban_s)
    return CallFailed(
        code,
        message,
        http_status=answer.status,
        provider_message=said or None,
        provider_request_id=request_id_of(answer, data),
        retry_after_s=retry_s if kind in (FailureClass.RATE_LIMITED, FailureClass.TRANSIENT) else None,
        remedy=sign.remedy if sign and sign.code == code else None,
    )


def _sign(answer: Answer, source: str, data: Any, status: int, said: str) -> Sign | None:
    words = frozenset(_words(data))
    for sign in (*OF_SOURCE.get(source, ()), *OF_ALL):
        if sign.statuses and status not in sign.statuses:
            continue
        if sign.words and not sign.words & words:
            continue
        if sign.text is not None and not sign.text.search(said):
            continue
        if sign.header is not None and answer.headers.get(sign.header[0]) != sign.header[1]:
            continue
        return sign
    return None


def _of_status(answer: Answer, data: Any, status: int, retry_s: float | None) -> str:
    if status == 404 and not _is_api_error(data):
        return "wrong_url"
    if status in OF_STATUS:
        return OF_STATUS[status]
    if 300 <= status < 400:
        return "redirected"
    if 400 <= status < 500:
        return "invalid_request"
    if status < 300:
        return "bad_answer"
    # A server that names the moment of its return wants to be left alone until then, like one that limits.
    return "overloaded" if retry_s is not None and _names_moment(answer) else "server_error"


def _names_moment(answer: Answer) -> bool:
    return any(answer.headers.get(name) is not None for name in ("retry-after", "retry-after-ms"))


def _is_api_error(data: Any) -> bool:
    """Whether an API wrote this 404: web servers and frameworks answer with a page, nothing, or `Not Found`."""
    if not isinstance(data, Mapping):
        return False
    return _said(data).strip().lower() not in {"", "not found", "404 not found", "404 page not found"}


def _said(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    candidates = [error.get("message")] if isinstance(error, Mapping) else [error]
    for candidate in (*candidates, data.get("message"), data.get("detail")):
        if isinstance(candidate, Mapping):
            candidate = candidate.get("detail") or candidate.get("message")
        if isinstance(candidate, list):
            candidate = "; ".join(_problems(candidate))
        if isinstance(candidate, str) and candidate:
            return candidate
    return ""


def _problems(items: list[Any]) -> Iterator[str]:
    """FastAPI's list of what is wrong with a request, without the value that was sent."""
    for item in items:
        if isinstance(item, Mapping):
            location = item.get("loc")
            where = ".".join(map(str, location)) if isinstance(location, list) else ""
            what = item.get("msg")
            yield f"{where}: {what}" if where else str(what)
        elif isinstance(item, str):
            yield item


def _words(data: Any) -> Iterator[str]:
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, Mapping):
        return
    error = data.get("error")
    layers = [data, error] if isinstance(error, Mapping) else [data]
    details = layers[-1].get("details")
    if isinstance(details, Mapping):
        layers.append(details)
    for layer in layers:
        for name in ("type", "code", "error_code"):
            word = layer.get(name)
            if isinstance(word, str | int):
                yield str(word).lower()


def _json_or_none(answer: Answer) -> Any:
    try:
        return orjson.loads(answer.body.strip())
    except orjson.JSONDecodeError:
        return None


def _is_markup(answer: Answer) -> bool:
    return answer.body[:200].strip().lower().startswith(_MARKUP)
