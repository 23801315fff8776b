"""What the providers' error answers mean, as tables: a status is not enough to tell.

Source: providers' documents and SDKs (OpenAI, Error codes; Anthropic, API errors; Mistral, Error glossary; Cohere,
Errors; Fireworks, Inference error codes; Perplexity, Migrate from Sonar), and live answers that public issues quote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple


class Sign(NamedTuple):
    """How one kind of failure is known. Every condition that is given must hold."""

    code: str
    """A failure code."""
    statuses: frozenset[int] = frozenset()
    words: frozenset[str] = frozenset()
    """Any of these is the error's `type`, `code` or `error_code`, in lower case."""
    text: re.Pattern[str] | None = None
    """Found in the provider's own words."""
    header: tuple[str, str] | None = None
    """A header (lower case) and its value."""
    remedy: str | None = None
    """Instead of the code's own."""


def _any(*words: str) -> frozenset[str]:
    return frozenset(words)


def _on(*statuses: int) -> frozenset[int]:
    return frozenset(statuses)


def _says(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_NO_MODEL: Final = _says(
    r"model\W{1,4}(?:[\w./:@-]{1,200}\W{1,4})?(?:is )?(?:was )?"
    r"(?:not found|not exist|does not exist|not supported|not available)\b"
    r"|\b(?:invalid|unknown) model\b(?! (?:name )?parameter)|\bno models? loaded\b"
)

OF_SOURCE: Final[Mapping[str, tuple[Sign, ...]]] = {
    "openai": (Sign("quota_exhausted", _on(429), text=_says("exceeded your current quota")),),
    "claude": (
        Sign(
            "quota_exhausted",
            _on(429),
            _any("enforced_spend_limit_reached", "contract_spend_limit_reached"),
            remedy="Raise the spend limit in the Claude Console; the lane will not open by itself.",
        ),
        # Limits that the owner has set, and an empty balance, come as plain bad requests.
        Sign("quota_exhausted", _on(400), text=_says(r"\busage limits\b|credit balance is too low")),
        Sign("model_not_found", _on(404), text=_says(r"^model: ")),
    ),
    "mistralai": (
        # The body is that of a rate limit. A limit of 0 tells that the key has no allowance at all.
        Sign("quota_exhausted", _on(429), header=("x-ratelimit-limit-req-minute", "0")),
    ),
    "cohere": (
        # Only the text tells the month's allowance of a trial key from the minute's.
        Sign("quota_exhausted", _on(429), text=_says(r"/ ?month")),
    ),
    "perplexity": (
        # Said to valid keys too, since 2026-09-27.
        Sign(
            "api_retired",
            _on(403),
            _any("chat_completions_not_available", "agent_api_migration_required"),
            remedy="Take `api: sonar` out of the connection: Perplexity itself speaks the Agent API only.",
        ),
    ),
    "fireworks": (
        # The other meaning of 412 is a LoRA addon that is not loaded.
        Sign("quota_exhausted", _on(412), text=_says("suspend|spend|payment|invoice")),
    ),
    "ai21": (
        Sign("quota_exhausted", _on(403), text=_says("quota")),
        Sign("server_error", _on(424)),
    ),
    "electronhub": (Sign("quota_exhausted", _on(429), text=_says("plan limit")),),
    "custom": (
        Sign("quota_exhausted", _on(400, 402, 403, 429), _any("budget_exceeded")),
        # LiteLLM wraps a provider's answer into its own words, under another status.
        Sign(
            "quota_exhausted",
            _on(400, 429),
            text=_says(
                r"^litellm\.\w+: .*(?:insufficient balance|insufficient_quota|exceeded your current quota)"
            ),
        ),
        Sign(
            "unauthorized",
            _on(400),
            _any("no_db_connection"),
            remedy="Give the connection the proxy's master key: a LiteLLM proxy without a database takes no other, "
            "and calls every other key a missing database.",
        ),
        # llama.cpp says so for minutes; it costs the jobs nothing.
        Sign("overloaded", _on(503), text=_says("loading model")),
    ),
}
"""What only one source means. Asked before `OF_ALL`."""

OF_ALL: Final[tuple[Sign, ...]] = (
    Sign(
        "quota_exhausted",
        words=_any(
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "billing_not_active",
            "billing_hard_limit_reached",
            "billing_error",
        ),
    ),
    Sign("overloaded", _on(500, 503, 529), _any("slow_down", "overloaded_error")),
    Sign(
        "content_refused",
        _on(400, 403, 422),
        _any("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation"),
    ),
    Sign(
        "request_too_large",
        _on(400, 413, 422),
        _any("context_length_exceeded", "exceed_context_size_error", "request_too_large"),
    ),
    Sign("request_too_large", _on(400, 422), text=_says(r"maximum context length|prompt is too long")),
    Sign("model_not_found", _on(400, 403, 404, 422), _any("model_not_found", "invalid_model", "1500")),
    Sign("model_not_found", _on(400, 404, 422), text=_NO_MODEL),
    Sign(
        "unauthorized",
        _on(403),
        text=_says(r"api[ _-]?key|authenticat|unauthori[sz]ed|invalid (?:api )?token|credential"),
    ),
)
"""What every source means, asked in this order, before the status alone decides."""

OF_STATUS: Final[Mapping[int, str]] = {
    401: "unauthorized",
    402: "quota_exhausted",
    403: "forbidden",
    404: "not_found",
    405: "wrong_url",
    408: "server_error",
    409: "server_error",
    413: "request_too_large",
    425: "server_error",
    429: "rate_limited",
    498: "unauthorized",
    529: "overloaded",
}
"""What a status alone means. Others: 3xx `redirected`, 4xx `invalid_request`, 5xx `server_error`."""

STATUS_OF_WORD: Final[Mapping[str, Mapping[str, int]]] = {
    "claude": {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "conflict_error": 409,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "timeout_error": 504,
        "overloaded_error": 529,
    },
    "fireworks": {
        "bad_request": 400,
        "invalid_request_error": 400,
        "unauthorized": 401,
        "payment_required": 402,
        "forbidden": 403,
        "not_found": 404,
        "request_timeout": 408,
        "precondition_failed": 412,
        "rate_limit_exceeded": 429,
        "service_unavailable": 503,
    },
}
"""The status with which a source says a word (`type` or `code`, in lower case), for errors in the middle of a stream,
whose own status said that all was well."""

REQUEST_ID_HEADERS: Final = (
    "x-request-id",
    "request-id",
    "mistral-correlation-id",
    "x-debug-trace-id",
    "x-litellm-call-id",
    "x-kong-request-id",
)
"""Where providers put the id under which they know a call; the first that is there counts."""
