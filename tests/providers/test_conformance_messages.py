"""One suite for all sources: keys, addresses, and what messages become, source by source."""

from __future__ import annotations

from typing import Any

from conformance_tables import each, said, shared
from provider_testing import KEY, PNG, SOURCES, connection, sent

from chatq_worker.prompts import Names
from for_each import for_each

# --- keys and addresses ---

HEADERS = {
    **{
        source: {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        for source in SOURCES
        if source not in ("claude", "cohere")
    },
    "claude": {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"},
    "cohere": {
        "authorization": f"Bearer {KEY}",
        "x-client-name": "chatq",
        "content-type": "application/json",
    },
}


@for_each(("source", "headers"), each(HEADERS))
def test_the_key_travels_in_the_sources_own_header(source: str, headers: dict[str, str]) -> None:
    assert sent(source).headers == headers


@for_each("source", SOURCES)
def test_without_a_key_no_header_carries_one(source: str) -> None:
    assert not {"authorization", "x-api-key"} & set(sent(source, key=None).headers)


ELSEWHERE = {
    "openai": "http://gateway.test/v1/chat/completions",
    "claude": "http://gateway.test/v1/messages",
    "mistralai": "http://gateway.test/v1/chat/completions",
    "deepseek": "http://gateway.test/v1/chat/completions",
    "ai21": "http://gateway.test/v1/chat/completions",
    "cohere": "http://gateway.test/v2/chat",
    "perplexity": "http://gateway.test/v1/agent",
    "fireworks": "http://gateway.test/v1/chat/completions",
    "electronhub": "http://gateway.test/v1/chat/completions",
    "custom": "http://gateway.test/v1/chat/completions",
}


@for_each(("source", "url"), each(ELSEWHERE))
def test_another_base_url_is_joined_without_doubling_its_version(source: str, url: str) -> None:
    assert sent(source, to=connection(source, url="http://gateway.test/v1")).url == url


# --- messages ---

PLAIN = shared(
    {"messages": [{"role": "user", "content": "Hi"}]},
    claude={"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    perplexity={"input": "Hi"},
)


@for_each(("source", "expected"), each(PLAIN))
def test_plain_text(source: str, expected: dict[str, Any]) -> None:
    request = sent(source)

    assert said(request.body) == expected
    assert request.warnings == []


SYSTEM = shared(
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    claude={
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    },
    perplexity={"instructions": "Be brief.", "input": [{"role": "user", "content": "Hi"}]},
)


@for_each(("source", "expected"), each(SYSTEM))
def test_what_the_system_says(source: str, expected: dict[str, Any]) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    assert said(sent(source, messages).body) == expected


DEVELOPER = SYSTEM | {
    source: {"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
    for source in ("openai", "electronhub", "custom")
}


@for_each(("source", "expected"), each(DEVELOPER))
def test_a_developer_is_the_system_where_openais_word_is_not_known(source: str, expected: Any) -> None:
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hi"}]

    assert said(sent(source, messages).body) == expected


def with_image(url: str) -> list[dict[str, Any]]:
    return [
        {
            "role": "user",
            "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url}}],
        }
    ]


def images(data_source: dict[str, Any], url: str) -> dict[str, Any]:
    return shared(
        {"messages": with_image(url)},
        ai21={"messages": [{"role": "user", "content": "See"}]},
        claude={
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "See"}, {"type": "image", "source": data_source}],
                }
            ]
        },
        perplexity={
            "input": [
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "See"},
                        {"type": "input_image", "image_url": url},
                    ],
                }
            ]
        },
    )


@for_each(
    ("source", "expected"),
    each(images({"type": "base64", "media_type": "image/png", "data": "AAA1"}, PNG)),
)
def test_an_image_inside_the_message(source: str, expected: dict[str, Any]) -> None:
    request = sent(source, with_image(PNG))

    assert said(request.body) == expected
    assert request.says("image_url") is (source == "ai21")


@for_each(
    ("source", "expected"),
    each(images({"type": "url", "url": "https://x.test/a.png"}, "https://x.test/a.png")),
)
def test_an_image_on_the_web(source: str, expected: dict[str, Any]) -> None:
    assert said(sent(source, with_image("https://x.test/a.png")).body) == expected


NAMED = shared(
    {"messages": [{"role": "user", "content": "Bob: Hi"}]},
    claude={"messages": [{"role": "user", "content": [{"type": "text", "text": "Bob: Hi"}]}]},
    perplexity={"input": "Bob: Hi"},
    **{
        source: {"messages": [{"role": "user", "name": "Bob", "content": "Hi"}]}
        for source in ("openai", "electronhub", "custom")
    },
)


@for_each(("source", "expected"), each(NAMED))
def test_a_speakers_name_is_written_into_the_text_where_there_is_no_field_for_it(
    source: str, expected: dict[str, Any]
) -> None:
    request = sent(source, [{"role": "user", "name": "Bob", "content": "Hi"}], names=Names(user="Bob"))

    assert said(request.body) == expected


@for_each("source", SOURCES)
def test_an_answer_that_was_sent_back_as_it_came_holds_nothing_that_a_source_refuses(source: str) -> None:
    came = {
        "role": "assistant",
        "content": "Hello.",
        "annotations": [],
        "citations": ["https://x.test"],
        "tool_calls": None,
    }

    text = str(
        sent(source, [{"role": "user", "content": "Hi"}, came, {"role": "user", "content": "More."}]).body
    )

    assert "Hello." in text
    if source != "custom":  # its messages go out as they are
        assert "citations" not in text
        assert "annotations" not in text
        assert "tool_calls" not in text


# --- and nothing else ---

NEEDED = {
    **{source: {"model", "messages"} for source in SOURCES},
    "claude": {"model", "messages", "max_tokens"},
    "cohere": {"model", "messages", "stream"},
    "ai21": {"model", "messages", "stream"},
    "perplexity": {"model", "input"},
}


@for_each(("source", "keys"), each(NEEDED))
def test_nothing_is_sent_that_neither_the_job_said_nor_the_source_needs(source: str, keys: set[str]) -> None:
    assert set(sent(source).body) == keys
