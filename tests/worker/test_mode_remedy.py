"""A provider's complaint about the order of roles names the mode that would have helped."""

from __future__ import annotations

from typing import Any

from chatq_worker.mode_remedy import helpful_mode
from for_each import for_each

SYSTEM_LATER = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "system", "content": "c"},
]
TWICE_USER = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
ASSISTANT_FIRST = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]


@for_each(
    ("words", "messages", "mode"),
    [
        ("Conversation roles must alternate user/assistant/user/assistant/...", TWICE_USER, "merge"),
        ("After the (optional) system message(s), roles should alternate", SYSTEM_LATER, "semi"),
        ("System message must be at the beginning.", SYSTEM_LATER, "semi"),
        ("Unexpected role 'system' after role 'assistant'", SYSTEM_LATER, "semi"),
        ("First message must use the `user` role", ASSISTANT_FIRST, "strict"),
        ("A conversation must start with a user message.", ASSISTANT_FIRST, "strict"),
        ("System role not supported", [{"role": "system", "content": "s"}, *TWICE_USER], "single"),
    ],
)
def test_the_least_restrictive_mode_that_helps_is_named(
    words: str, messages: list[dict[str, Any]], mode: str
) -> None:
    assert helpful_mode(words, messages, has_tools=False) == mode


def test_a_job_with_tools_is_told_the_variant_that_keeps_them() -> None:
    assert helpful_mode("roles must alternate", TWICE_USER, has_tools=True) == "merge_tools"


@for_each("words", [None, "", "max_tokens is too large", "This user may not use the model."])
def test_another_complaint_names_no_mode(words: str | None) -> None:
    assert helpful_mode(words, TWICE_USER, has_tools=False) is None


def test_a_mode_that_would_change_nothing_is_not_named() -> None:
    assert helpful_mode("roles must alternate", [{"role": "user", "content": "a"}], has_tools=False) is None
