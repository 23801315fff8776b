"""Model lists, page by page, and the cheapest honest check of each source."""

from __future__ import annotations

import json
from typing import Any

import pytest
from provider_testing import DATA, KEY, MODELS, SOURCES, answer, connection, exchanges, openai_answer

from chatq_worker.failures import CallFailed
from chatq_worker.providers import ADAPTERS, Check, CheckKind, CheckReading
from for_each import for_each

LISTED = {"data": [{"id": "m1"}, {"id": "m2"}]}


def sample(source: str, name: str) -> dict[str, Any]:
    return next(e for s, e in exchanges("other", "models") if (s, e["name"]) == (source, name))


def url_of(source: str, page: str | None = None, **settings: Any) -> str:
    request = ADAPTERS[source].models_request(connection(source, **settings), KEY, page)
    assert request is not None
    return request.url


def read_page(
    source: str, body: Any, page: str | None = None, status: int = 200
) -> tuple[list[str], str | None]:
    found = ADAPTERS[source].read_models(answer(body, status), connection(source), page)
    return list(found.ids), found.next_page


# --- lists ---


@for_each(
    "body",
    [
        {"object": "list", "data": [{"id": "a"}, {"id": "b"}]},
        {"models": [{"name": "a"}, {"name": "b"}]},
        {"models": [{"model": "a"}, {"name": "b"}]},
        [{"id": "a"}, {"id": "b"}],
        ["a", "b"],
        {
            "data": [
                {"id": "a"},
                {"id": "b"},
                {"id": "a"},
                {"id": ""},
                {"id": None},
                7,
                None,
                {},
                {"id": "x" * 9999},
            ]
        },
    ],
)
def test_a_custom_servers_list_is_read_in_any_shape_each_model_once(body: Any) -> None:
    assert read_page("custom", body) == (["a", "b"], None)


def test_claudes_pages_are_followed_by_their_last_id() -> None:
    body = {"data": [{"id": "a"}], "has_more": True, "last_id": "a b"}

    assert read_page("claude", body) == (["a"], "a b")
    assert url_of("claude", "a b").endswith("/v1/models?limit=1000&after_id=a%20b")


@pytest.mark.parametrize(
    "end", [{"has_more": False, "last_id": "a"}, {"has_more": True}, {"has_more": True, "last_id": "z"}]
)
def test_claudes_pages_come_to_an_end_even_when_they_go_round(end: dict[str, Any]) -> None:
    assert read_page("claude", {"data": [{"id": "a"}], **end}, page="z") == (["a"], None)


def test_coheres_pages_are_followed_by_their_token() -> None:
    body = {"models": [{"name": "a", "endpoints": ["chat"]}], "next_page_token": "t/1"}

    assert read_page("cohere", body) == (["a"], "t/1")
    assert url_of("cohere", "t/1") == (
        "https://api.cohere.com/v1/models?endpoint=chat&page_size=1000&page_token=t%2F1"
    )


def test_models_that_do_not_chat_are_not_listed_where_the_source_says_so() -> None:
    mistral = [
        {"id": "a", "capabilities": {"completion_chat": True}},
        {"id": "b", "capabilities": {"completion_chat": False}},
        {"id": "c"},
    ]

    assert read_page("mistralai", {"data": mistral})[0] == ["a", "c"]
    assert read_page("cohere", {"models": [{"name": "a", "endpoints": ["embed"]}, {"name": "b"}]})[0] == ["b"]
    assert read_page("fireworks", {"data": [{"id": "a", "supports_chat": False}, {"id": "b"}]})[0] == ["b"]


def test_fireworks_patchy_list_is_followed_by_that_of_the_account() -> None:
    _, page = read_page("fireworks", {"data": [{"id": "accounts/fireworks/models/a"}]})

    given = sample("fireworks", "model_list_account")
    assert url_of("fireworks", page) == given["request"]["url"]
    assert read_page("fireworks", given["response"]["json"], page) == (
        ["accounts/fireworks/models/deepseek-v4-pro"],
        None,
    )


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_fireworks_list_that_fails_is_one_without_rows(status: int) -> None:
    ids, page = read_page("fireworks", {}, status=status)

    assert ids == []
    assert page is not None
    assert read_page("fireworks", {}, page, status) == ([], None)


def test_fireworks_account_pages_are_followed_by_their_token() -> None:
    _, page = read_page("fireworks", {"models": [{"name": "a"}], "nextPageToken": "t 2"}, "account")

    assert url_of("fireworks", page).endswith("/v1/accounts/fireworks/models?pageSize=200&pageToken=t%202")


def test_sonar_offers_no_list() -> None:
    assert ADAPTERS["perplexity"].models_request(connection("perplexity", api="sonar"), KEY) is None


@for_each("source", SOURCES)
@for_each(("status", "code"), [(401, "unauthorized"), (429, "rate_limited"), (402, "quota_exhausted")])
def test_a_list_that_is_refused_is_the_failure_that_it_says(source: str, status: int, code: str) -> None:
    with pytest.raises(CallFailed) as failed:
        read_page(source, {"error": {"message": "x"}}, status=status)

    assert failed.value.code == code


@for_each("source", SOURCES)
@for_each("body", [b"<html>Welcome</html>", b"", {"data": "x"}, 7, {"object": "list"}])
def test_a_list_that_is_none_is_a_bad_answer(source: str, body: Any) -> None:
    with pytest.raises(CallFailed) as failed:
        read_page(source, body)

    assert failed.value.code == "bad_answer"


# --- checks ---

CHECKS = {
    "openai": (CheckKind.MODELS, "GET", "https://api.openai.com/v1/models"),
    "claude": (CheckKind.MODELS, "GET", "https://api.anthropic.com/v1/models?limit=1000"),
    "mistralai": (CheckKind.MODELS, "GET", "https://api.mistral.ai/v1/models"),
    "deepseek": (CheckKind.BALANCE, "GET", "https://api.deepseek.com/user/balance"),
    "ai21": (CheckKind.MODELS, "GET", "https://api.ai21.com/studio/v1/models"),
    "cohere": (CheckKind.MODELS, "GET", "https://api.cohere.com/v1/models?endpoint=chat&page_size=1000"),
    "perplexity": (CheckKind.MODELS, "GET", "https://api.perplexity.ai/v1/models"),
    "fireworks": (CheckKind.CHAT, "POST", "https://api.fireworks.ai/inference/v1/chat/completions"),
    "electronhub": (CheckKind.CHAT, "POST", "https://api.electronhub.ai/v1/chat/completions"),
    "custom": (CheckKind.MODELS, "GET", "http://127.0.0.1:5000/v1/models"),
}


@for_each("source", SOURCES)
def test_the_cheapest_honest_check(source: str) -> None:
    check = ADAPTERS[source].check_request(connection(source, model=MODELS[source]), KEY)

    assert (check.kind, check.request.method, check.request.url) == CHECKS[source]
    assert any(KEY in value for value in check.request.headers.values())


@for_each("source", SOURCES)
def test_a_check_can_ask_for_a_chat_of_one_token(source: str) -> None:
    check = ADAPTERS[source].check_request(connection(source), KEY, model=MODELS[source])

    body = json.loads(check.request.body)
    cap = next(
        body[name] for name in ("max_tokens", "max_completion_tokens", "max_output_tokens") if name in body
    )
    assert (check.kind, check.model, cap) == (CheckKind.CHAT, MODELS[source], 1)


@pytest.mark.parametrize("source", ["fireworks", "electronhub"])
def test_where_only_a_chat_proves_anything_a_list_names_the_model_to_ask(source: str) -> None:
    to = connection(source)

    check = ADAPTERS[source].check_request(to, KEY)

    assert check.kind is CheckKind.MODELS
    assert ADAPTERS[source].read_check(check, answer(LISTED), to) == CheckReading(False, ["m1", "m2"])


def test_sonar_is_asked_for_a_chat_even_without_a_model() -> None:
    check = ADAPTERS["perplexity"].check_request(connection("perplexity", api="sonar"), KEY)

    assert (check.kind, check.model) == (CheckKind.CHAT, "sonar")


def test_a_custom_server_may_be_asked_for_a_chat_with_whichever_model_it_has() -> None:
    check = ADAPTERS["custom"].check_request(connection("custom"), None, model="")

    assert check.kind is CheckKind.CHAT
    assert "model" not in json.loads(check.request.body)


def test_the_others_must_be_told_a_model() -> None:
    with pytest.raises(CallFailed, match="needs a model"):
        ADAPTERS["ai21"].check_request(connection("ai21"), KEY, model="")


def check_of(source: str, **settings: Any) -> tuple[Check, Any]:
    to = connection(source, **settings)
    return ADAPTERS[source].check_request(to, KEY), to


def test_a_list_with_models_proves_a_key() -> None:
    for source in ("openai", "claude", "mistralai", "ai21", "perplexity", "custom"):
        check, to = check_of(source)
        assert ADAPTERS[source].read_check(check, answer(LISTED), to) == CheckReading(True, ["m1", "m2"])


def test_ai21s_empty_list_proves_nothing_as_it_needs_no_key() -> None:
    check, to = check_of("ai21")
    given = sample("ai21", "model_list_without_key")["response"]["json"]

    assert ADAPTERS["ai21"].read_check(check, answer(given), to) == CheckReading(False, [])


def test_a_chat_proves_everything() -> None:
    to = connection("fireworks", model="m")
    check = ADAPTERS["fireworks"].check_request(to, KEY)

    reading = ADAPTERS["fireworks"].read_check(check, answer(openai_answer({"content": "H"}, "length")), to)

    assert reading == CheckReading(proved=True)


def test_deepseeks_balance_proves_key_and_money() -> None:
    check, to = check_of("deepseek")
    given = json.loads((DATA / "wire" / "deepseek.json").read_text("utf-8"))
    balance = next(e for e in given if e["name"] == "balance")

    assert check.request.url == balance["request"]["url"]
    assert ADAPTERS["deepseek"].read_check(check, answer(balance["response"]["json"]), to).proved


def test_deepseeks_empty_balance_is_an_exhausted_quota() -> None:
    check, to = check_of("deepseek")

    with pytest.raises(CallFailed) as failed:
        ADAPTERS["deepseek"].read_check(check, answer({"is_available": False, "balance_infos": []}), to)

    assert failed.value.code == "quota_exhausted"


@for_each("source", SOURCES)
@for_each("status", [404, 405])
def test_a_gateway_without_a_list_is_asked_for_a_chat(source: str, status: int) -> None:
    check, to = check_of(source, url="http://gateway.test/v1")

    assert not ADAPTERS[source].read_check(check, answer(b"", status), to).proved


def test_a_custom_server_that_answers_200_to_unknown_paths_has_no_list() -> None:
    check, to = check_of("custom")

    for body in ({"error": "Unexpected endpoint or method. (GET /v1/models)"}, b"<html>Welcome</html>"):
        assert ADAPTERS["custom"].read_check(check, answer(body), to) == CheckReading(False)


@for_each(("status", "code"), [(401, "unauthorized"), (429, "rate_limited"), (503, "server_error")])
@for_each("source", SOURCES)
def test_what_a_check_is_refused_for_is_the_failure_that_it_says(source: str, status: int, code: str) -> None:
    check, to = check_of(source, model=MODELS[source])

    with pytest.raises(CallFailed) as failed:
        ADAPTERS[source].read_check(check, answer({"error": {"message": "x"}}, status), to)

    assert failed.value.code == code


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (None, "https://api.deepseek.com/user/balance"),
        ("http://g.test/deepseek/v1", "http://g.test/deepseek/user/balance"),
    ],
)
def test_deepseeks_balance_is_beside_the_version(base: str | None, url: str) -> None:
    assert ADAPTERS["deepseek"].check_request(connection("deepseek", url=base), KEY).request.url == url


@pytest.mark.parametrize("source", ["openai", "claude", "custom"])
def test_a_list_that_is_too_long_is_read_as_far_as_it_is_kept(source: str) -> None:
    rows = [{"id": f"model-{number}"} for number in range(100_000)]
    ids = ADAPTERS[source].read_models(answer({"data": rows}), connection(source)).ids
    assert (len(ids), ids[0], ids[-1]) == (10_000, "model-0", "model-9999")
