"""What the headers of answers tell of limits: by the documents, by the samples, by the simulator, by anyone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from provider_testing import KEY, SOURCES, chat, connection
from wire_readings import SAMPLES

from chatq_sandbox.process import SimulatorProcess
from chatq_worker.providers import ADAPTERS
from chatq_worker.providers.rate_limit_headers import ObservedLimit, observed_limits
from for_each import for_each

NOON = 1_795_348_800.0
"""2026-11-22T12:00:00Z, the moment of these tests."""
DAY_S = 86_400.0
MONTH_S = 2_592_000.0


def limit(kind: str, limit: int | None = None, remaining: int | None = None, **more: Any) -> ObservedLimit:
    """A limit by the minute, unless `more` says otherwise."""
    return ObservedLimit(kind=kind, limit=limit, remaining=remaining, **{"window_s": 60.0, **more})


def openai_headers(limit: str, remaining: str, reset: str, subject: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{subject}": limit,
        f"x-ratelimit-remaining-{subject}": remaining,
        f"x-ratelimit-reset-{subject}": reset,
    }


def observed(headers: Mapping[str, str], source: str = "custom") -> list[ObservedLimit]:
    return list(observed_limits(source, headers, now=NOON))


# --- the samples ---

TOLD_IN_SAMPLES: dict[tuple[str, str], list[ObservedLimit]] = {
    ("openai", "chat_text"): [
        limit("requests", 500, 499, reset_s=0.12),
        limit("tokens", 200_000, 199_958, reset_s=0.012),
    ],
    # A reset beyond any minute's, that fits no other window either: the documents' own example.
    ("openai", "error_429_rate_tokens"): [
        limit("requests", 500, 499, reset_s=0.12),
        limit("tokens", 200_000, 0, reset_s=360.0),
    ],
    ("claude", "chat_text"): [
        limit("input_tokens", 30_000, 29_000, reset_s=2.0),
        limit("output_tokens", 8_000, 8_000, reset_s=0.0),
        limit("requests", 50, 49, reset_s=1.0),
        limit("tokens", 38_000, 37_000, reset_s=2.0),
    ],
    ("mistralai", "chat_text"): [
        limit("requests", 60, 59),
        limit("tokens", 50_000, 47_196, cost=2_804),
        limit("tokens_month", 4_000_000, 3_950_246, window_s=MONTH_S, cost=2_804),
    ],
    # A key without allowance: an account's failure, and no limit of 0.
    ("mistralai", "error_429_quota"): [
        limit("tokens", 50_000, 47_196, cost=2_804),
        limit("tokens_month", 4_000_000, 3_950_246, window_s=MONTH_S, cost=2_804),
    ],
    ("cohere", "chat_text"): [
        limit("requests", 20, 19),
        limit("requests_month", 1_000, window_s=MONTH_S),
    ],
    # 60,000 and 600 a second; what is left of a second's worth tells of the minute only when it is nothing.
    ("fireworks", "chat_text"): [limit("input_tokens", 3_600_000), limit("output_tokens", 36_000)],
    ("fireworks", "error_429_rate_limited"): [
        limit("input_tokens", 3_600_000),
        limit("output_tokens", 36_000, 0),
    ],
    # Its reset is a moment of the day before.
    ("electronhub", "chat_text"): [limit("requests", 20, 19)],
    ("custom", "litellm_chat_text"): [limit("requests", None, 99)],
    ("deepseek", "chat_text"): [],
    ("ai21", "chat_text"): [],
    ("perplexity", "chat_text_with_search"): [],
}


@for_each(
    ("source", "name", "expected"),
    [pytest.param(*key, told, id="-".join(key)) for key, told in TOLD_IN_SAMPLES.items()],
)
def test_what_the_sample_answers_tell(source: str, name: str, expected: list[ObservedLimit]) -> None:
    headers = SAMPLES[source, name]["response"]["headers"]

    assert observed({key.lower(): value for key, value in headers.items()}, source) == expected


def test_every_source_is_among_the_samples() -> None:
    assert {source for source, _ in TOLD_IN_SAMPLES} == set(SOURCES)


# --- the simulator ---

PATHS = {
    "openai": "/openai/v1",
    "claude": "/claude",
    "mistralai": "/mistralai/v1",
    "deepseek": "/deepseek",
    "ai21": "/ai21/studio/v1",
    "cohere": "/cohere",
    "perplexity": "/perplexity",
    "fireworks": "/fireworks/inference/v1",
    "electronhub": "/electronhub/v1",
    "custom": "/custom/v1",
    "custom/litellm": "/custom/litellm/v1",
}
LIMITS = {
    "requests_per_minute": 600,
    "tokens_per_minute": 120_000,
    "input_tokens_per_minute": 90_000,
    "output_tokens_per_minute": 30_000,
    "requests_per_month": 1_000,
    "tokens_per_month": 4_000_000,
    "bucket": "minute",
}
ANSWER_TOKENS = 32
"""The simulator's own length; with the prompt "Hi" a call takes 33 tokens."""

TOLD_BY_SIMULATOR: dict[str, list[tuple[str, float, int | None, int | None, int | None]]] = {
    "openai": [("requests", 60.0, 600, 599, None), ("tokens", 60.0, 120_000, 119_967, None)],
    "claude": [
        ("input_tokens", 60.0, 90_000, 89_999, None),
        ("output_tokens", 60.0, 30_000, 29_968, None),
        ("requests", 60.0, 600, 599, None),
        ("tokens", 60.0, 120_000, 119_967, None),
    ],
    "mistralai": [
        ("requests", 60.0, 600, 599, None),
        ("tokens", 60.0, 120_000, 119_967, 33),
        ("tokens_month", MONTH_S, 4_000_000, 3_999_967, 33),
    ],
    "deepseek": [],
    "ai21": [],
    "cohere": [("requests", 60.0, 600, 599, None), ("requests_month", MONTH_S, 1_000, None, None)],
    "perplexity": [],
    "fireworks": [("input_tokens", 60.0, 90_000, None, None), ("output_tokens", 60.0, 30_000, None, None)],
    "electronhub": [("requests", 60.0, 600, 599, None)],
    "custom": [],
    "custom/litellm": [("requests", 60.0, None, 599, None)],
}
"""Of the first call: kind, window, limit, remaining, cost."""
TELL_A_RESET = frozenset({"openai", "claude", "electronhub"})


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    sources = {name: {"keys": [KEY], "limits": LIMITS} for name in PATHS}
    with SimulatorProcess(
        {"sources": sources, "defaults": {"answers": {"tokens": ANSWER_TOKENS}}}
    ) as process:
        yield process


def answered_headers(simulator: SimulatorProcess, dialect: str) -> dict[str, str]:
    source = dialect.partition("/")[0]
    to = connection(source, url=simulator.url + PATHS[dialect])
    request = ADAPTERS[source].request(chat(source, "Hi"), to, KEY).request
    place = urlsplit(request.url)
    http = HTTPConnection(place.hostname or "", place.port, timeout=20)
    try:
        http.request(request.method, place.path, request.body, dict(request.headers))
        answer = http.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        return {name.lower(): value for name, value in answer.getheaders()}
    finally:
        http.close()


@for_each("dialect", PATHS)
def test_a_call_to_each_source_tells_its_limits_and_what_is_left(
    simulator: SimulatorProcess, dialect: str
) -> None:
    before = time.time()
    headers = answered_headers(simulator, dialect)
    waited_s = time.time() - before

    told = observed_limits(dialect.partition("/")[0], headers, now=before)

    assert [
        (seen.kind, seen.window_s, seen.limit, seen.remaining, seen.cost) for seen in told
    ] == TOLD_BY_SIMULATOR[dialect]
    # One of 600 a minute is back after 0.1 s; a moment is told as the second in which that is over.
    resets_s = [seen.reset_s for seen in told if seen.reset_s is not None]
    assert len(resets_s) == (len(told) if dialect in TELL_A_RESET else 0)
    assert all(0 < reset_s <= waited_s + 1.1 for reset_s in resets_s)


# --- names ---


@for_each(
    ("headers", "expected"),
    [
        ({"x-ratelimit-limit-requests-day": "1000", "x-ratelimit-remaining-requests-day": "900",
          "x-ratelimit-reset-requests-day": "33011.382867"},
         [limit("requests_day", 1000, 900, window_s=DAY_S, reset_s=33_011.382867)]),
        ({"x-ratelimit-limit-tokens-minute": "60000", "x-ratelimit-remaining-tokens-minute": "59000"},
         [limit("tokens", 60_000, 59_000)]),
        ({"x-ratelimit-limit-requests-hour": "150"}, [limit("requests_hour", 150, window_s=3600.0)]),
        ({"x-ratelimit-limit-second": "3"}, [limit("requests_second", 3, window_s=1.0)]),
        ({"x-ratelimit-limit-req-10-second": "2", "x-ratelimit-remaining-req-10-second": "0"},
         [limit("requests_10s", 2, 0, window_s=10.0)]),
        ({"x-ratelimit-limit-tokens-cache-adjusted-prompt": "15000"}, [limit("uncached_input_tokens", 900_000)]),
        ({"x-ratelimit-limit-tokens-generated": "2929.6875"}, [limit("output_tokens", 175_781)]),
        ({"x-ratelimit-tokens-query-cost": "52"}, [limit("tokens", cost=52)]),
        ({"x-ratelimit-limit-tokens_usage_based": "5", "x-ratelimit-over-limit": "yes", "x-ratelimit-model": "m",
          "x-ratelimit-limit-images": "5", "x-ratelimit-limit-req-10": "5", "x-ratelimit-limit-req-0-second": "5",
          "x-ratelimit-reset-requests": "1s", "anthropic-ratelimit-unified-limit": "9", "content-length": "5"},
         []),
    ],
)  # fmt: skip
def test_a_name_says_what_is_counted_and_in_which_window(
    headers: dict[str, str], expected: list[ObservedLimit]
) -> None:
    assert observed(headers) == expected


def test_azure_tells_what_is_left_without_a_limit_and_minus_one_where_there_is_none() -> None:
    headers = {
        "x-ratelimit-remaining-requests": "9",
        "x-ratelimit-limit-tokens": "-1",
        "x-ratelimit-remaining-tokens": "-1",
        "x-ratelimit-reset-tokens": "0",
    }

    assert observed(headers) == [limit("requests", None, 9)]


def test_a_gateways_own_limits_go_before_those_of_the_provider_behind_it() -> None:
    headers = {
        "llm_provider-x-ratelimit-limit-requests": "500",
        "llm_provider-x-ratelimit-limit-tokens": "9000",
        "llm_provider-anthropic-ratelimit-input-tokens-limit": "7000",
        "x-ratelimit-limit-requests": "60",
    }

    assert observed(headers) == [limit("input_tokens", 7_000), limit("requests", 60), limit("tokens", 9_000)]


# --- moments ---


def test_a_moment_is_measured_against_the_providers_own_clock() -> None:
    headers = {
        "date": "Sun, 22 Nov 2026 12:00:10 GMT",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-reset": "2026-11-22T12:00:13Z",
    }

    assert observed_limits("claude", headers, now=0.0) == (limit("requests", 50, reset_s=3.0),)


@for_each(
    ("reset", "seconds"),
    [
        ("2026-11-22T11:59:59Z", 0.0),
        ("2026-11-22T11:59:58Z", None),
        ("2027-01-22T12:00:00Z", None),
        ("soon", None),
        ("-1", None),
    ],
)
def test_a_reset_that_has_just_been_is_now_and_one_that_makes_no_sense_is_not_there(
    reset: str, seconds: float | None
) -> None:
    headers = {"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-reset": reset}

    assert observed(headers, "claude") == [limit("requests", 50, reset_s=seconds)]


# --- windows that no name tells ---


@for_each(
    ("headers", "window_s"),
    [
        # Groq's documents: the requests are a day's, the tokens a minute's.
        (openai_headers("14400", "14370", "2m59.56s"), DAY_S),
        (openai_headers("18000", "17997", "7.66s"), 60.0),
        # OpenAI's free tier, seen in an answer, and its refusal.
        (openai_headers("200", "197", "16m17.764s"), DAY_S),
        (openai_headers("200", "199", "7m12s"), DAY_S),
        (openai_headers("200", "0", "24h0m0s"), DAY_S),
        # A fixed window that ends at midnight.
        (openai_headers("50", "49", "1795402800"), DAY_S),
        (openai_headers("50", "0", "1795402800000"), DAY_S),
        # An hour, refilled continuously.
        (openai_headers("100", "90", "6m0s"), 3600.0),
        # A minute: refilled, at its start, a fixed window, one in debt, a second's bucket at its end.
        (openai_headers("5000", "4999", "12ms"), 60.0),
        (openai_headers("500", "500", "0s"), 60.0),
        (openai_headers("60", "59", "60"), 60.0),
        (openai_headers("1440", "1439", "60"), 60.0),
        (openai_headers("100", "0", "1m59s"), 60.0),
        (openai_headers("500", "0", "1s"), 60.0),
        # Nothing fits.
        (openai_headers("200000", "0", "6m0s"), 60.0),
        (openai_headers("500", "nan", "6m0s"), 60.0),
    ],
)  # fmt: skip
def test_a_window_without_a_name_is_a_minute_unless_the_reset_proves_otherwise(
    headers: dict[str, str], window_s: float
) -> None:
    (seen,) = observed(headers)

    assert seen.window_s == window_s


def test_a_source_that_counts_by_the_minute_is_believed() -> None:
    headers = {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795435200"}

    assert observed(headers, "electronhub") == [limit("requests", 20, 0, reset_s=DAY_S)]
    assert observed(headers, "custom") == [limit("requests_day", 20, 0, window_s=DAY_S, reset_s=DAY_S)]


# --- the drafts for RateLimit fields ---


@for_each(
    ("headers", "expected"),
    [
        ({"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-reset": "5"},
         [limit("requests", 100, 50, reset_s=5.0)]),
        ({"ratelimit-limit": "100, 100;w=60, 5000;window=86400", "ratelimit-remaining": "50"},
         [limit("requests", 100, 50), limit("requests_day", 5_000, window_s=DAY_S)]),
        ({"ratelimit-limit": "100", "ratelimit-remaining": "50", "ratelimit-policy": "100;w=3600"},
         [limit("requests_hour", 100, 50, window_s=3600.0)]),
        ({"ratelimit": "limit=100, remaining=50, reset=5", "ratelimit-policy": "100;w=1"},
         [limit("requests_second", 100, 50, window_s=1.0, reset_s=5.0)]),
        ({"ratelimit": '"a";r=50;t=5', "ratelimit-policy": '"a";q=100;w=10, "b, or so";q=1000;w=86400;pk=:x:'},
         [limit("requests_10s", 100, 50, window_s=10.0, reset_s=5.0),
          limit("requests_day", 1_000, window_s=DAY_S)]),
        ({"ratelimit-policy": '"a";q=100;w=60;qu="content-bytes"', "ratelimit": "5"}, []),
        ({"ratelimit-policy": '"a";q=100;w=1e300', "ratelimit": '"a";r=1e300'}, [limit("requests", 100)]),
    ],
)  # fmt: skip
def test_the_fields_of_the_drafts(headers: dict[str, str], expected: list[ObservedLimit]) -> None:
    assert observed(headers) == expected


# --- nonsense ---


@for_each("value", ["0", "-1", "nan", "inf", "1e999", "9" * 5000, "", "unlimited", "99999999999999999"])
def test_a_limit_that_is_none_voids_what_is_said_with_it(value: str) -> None:
    assert observed(openai_headers(value, "0", "1s")) == []


@for_each("value", ["501", "-1", "nan", "inf", "", "some"])
def test_a_remainder_that_makes_no_sense_leaves_the_limit(value: str) -> None:
    assert observed(openai_headers("500", value, "1s")) == [limit("requests", 500, reset_s=1.0)]


NAMES = st.sampled_from([
    "date", "ratelimit", "ratelimit-policy", "ratelimit-limit", "x-ratelimit-limit", "x-ratelimit-remaining",
    "x-ratelimit-reset", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens-generated", "x-ratelimit-remaining-tokens-generated", "x-ratelimit-tokens-query-cost",
    "x-ratelimit-limit-tokens-month", "anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-reset",
    "llm_provider-x-ratelimit-limit-requests", "x-endpoint-monthly-call-limit", "x-trial-endpoint-call-remaining",
])  # fmt: skip
PIECES = st.sampled_from(
    [
        *'0159;,="-.: ',
        "limit",
        "w=",
        "r",
        "t",
        "q=",
        "60",
        "1e",
        "nan",
        "6m0s",
        "2026-11-22T12:00:01Z",
        "22 Nov 2026",
    ]
)
VALUES = st.text(max_size=20) | st.lists(PIECES, max_size=8).map("".join)


@pytest.mark.fuzz
@given(
    source=st.sampled_from(SOURCES), headers=st.dictionaries(NAMES | st.text(max_size=12), VALUES, max_size=8)
)
def test_any_headers_tell_limits_that_make_sense_or_none(source: str, headers: dict[str, str]) -> None:
    told = observed_limits(source, headers, now=NOON)

    assert len({seen.kind for seen in told}) == len(told)
    for seen in told:
        assert seen.window_s > 0
        assert seen.limit is None or seen.limit >= 1
        assert seen.remaining is None or 0 <= seen.remaining <= (seen.limit or 10**15)
        assert seen.reset_s is None or 0 <= seen.reset_s <= 32 * DAY_S
        assert seen.cost is None or seen.cost >= 0
        assert (seen.limit, seen.remaining, seen.cost) != (None, None, None)


def test_long_hostile_values_are_read_in_a_moment() -> None:
    headers = {
        "ratelimit-policy": "1;w=" * 100_000,
        "ratelimit": '"' * 100_000,
        "x-ratelimit-limit": "1;" * 100_000,
        "x-ratelimit-reset-requests": "1h" * 100_000,
        "x-ratelimit-limit-" + "a-" * 30_000: "5",
    }

    assert observed(headers) == [limit("requests", 1)]
