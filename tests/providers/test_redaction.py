"""The provider's own words without keys."""

from __future__ import annotations

from provider_testing import KEY

from chatq.contract.redaction import redacted
from for_each import for_each


@for_each(
    "words",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Incorrect API key provided: {KEY[:8]}***{KEY[-4:]}.",
        f"key ending in {KEY[-8:]}",
        f"key beginning with {KEY[:6]}",
        f'{{"authorization": "Bearer {KEY}"}}',
        f"https://api.test/?key={KEY}&x=1",
    ],
)
def test_neither_a_key_nor_a_part_of_it_is_shown(words: str) -> None:
    shown = redacted(words, KEY, {}) or ""

    assert "[key]" in shown
    assert not any(KEY[i : i + 6] in shown for i in range(len(KEY) - 5))


@for_each(
    "words",
    [
        "Incorrect API key provided: sk-sam***.",
        "Your api key: ****mple is invalid",
        "Invalid key sk-ant-api03-abcdef",
        "Invalid key pplx-1234567890",
        "Invalid key fw_1234567890",
        "Invalid key ek-1234567890",
    ],
)
def test_what_looks_like_a_key_is_not_shown_even_when_it_is_not_ours(words: str) -> None:
    shown = redacted(words, None, {}) or ""

    assert "[key]" in shown
    assert "*" not in shown
    assert "1234567890" not in shown
    assert "abcdef" not in shown


def test_words_without_a_key_stay_as_they_are() -> None:
    words = "Rate limit reached for gpt-4o-mini in organization org-sample. Please try again in 820ms."

    assert redacted(words, KEY, {}) == words


def test_a_short_key_is_taken_out_whole() -> None:
    assert redacted("bad key abc", "abc", {}) == "bad key [key]"


def test_no_words_stay_no_words() -> None:
    assert redacted(None, KEY, {}) is None


SHOWN = "The gateway refused team {} with a 403."


@for_each("value", ["eightchr", "team-7 of the north", "aaaa/bbbb==", "https://example.com/x"])
def test_a_header_of_the_connections_own_is_taken_out(value: str) -> None:
    for key in (KEY, None):
        shown = redacted(SHOWN.format(value), key, {"X-Other": "other-value", "X-Team": value})
        assert shown == SHOWN.format("[header]")


def test_a_header_within_another_leaves_nothing_behind() -> None:
    headers = {"X-One": "abcdefgh", "X-Two": "abcdefgh-ijkl"}
    assert redacted("it is abcdefgh-ijkl", None, headers) == "it is [header]"


def test_a_short_header_is_a_word_like_others() -> None:
    assert redacted(SHOWN.format("gateway"), None, {"X-Team": "gateway"}) == SHOWN.format("gateway")


@for_each("name", ["Authorization", "proxy-authorization"])
@for_each("words", ["no such key: {}", "a key beginning with {:.8}", '{{"bearer": "{}"}}'])
def test_a_key_that_is_written_as_a_header_is_a_key(name: str, words: str) -> None:
    credential = "f00ba4f00ba4c0ffee"
    shown = redacted(words.format(credential), None, {name: f"Bearer {credential}"}) or ""
    assert "[key]" in shown
    assert not any(credential[i : i + 6] in shown for i in range(len(credential) - 5))


def test_the_scheme_of_a_key_is_no_secret() -> None:
    words = "Bearer authentication is needed."
    assert redacted(words, None, {"Authorization": "Bearer f00ba4f00ba4c0ffee"}) == words
