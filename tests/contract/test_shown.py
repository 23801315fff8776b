"""How a wrong value is shown in an error."""

from chatq.contract.shown import shown, shown_key
from for_each import for_each


@for_each(
    ("value", "words"),
    [
        (None, "nothing"),
        (True, "true"),
        (12, "12"),
        (10**4000, "a number far too large"),
        (1.5, "1.5"),
        ("many", '"many"'),
        ({}, "a mapping"),
        ([], "a list"),
        (b"", "a bytes"),
    ],
)
def test_a_value_is_shown_in_a_few_words(value: object, words: str) -> None:
    assert shown(value) == words


@for_each(
    "text",
    [
        "sk-abc123",
        "sk_live_1234",
        "Bearer x9",
        "pplx-a1b2c3",
        "AIzaSyA1234",
        "3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c",
        "a text that is just too long to be repeated",
        "two\nlines",
    ],
)
def test_a_text_that_may_be_a_key_or_breaks_the_line_is_only_counted(text: str) -> None:
    assert shown(text) == f"text of {len(text)} characters"


@for_each("name", ["openai-main", "hf-main", "sk-learn-1", "gpt-5-mini-of-the-second-team", "X-Api-Key"])
def test_the_name_of_a_connection_or_key_stays_legible(name: str) -> None:
    assert shown_key(name) == name


@for_each("name", ["sk-proj-abcdef1234567890abcdef", "3f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c", "a\nb", "x" * 65])
def test_a_name_that_looks_like_a_key_is_only_counted(name: str) -> None:
    assert shown_key(name) == f"<{len(name)} characters>"
