"""The reference cases of the sources' own prompt rules: data/vectors, a copy of the project's shared ones.

A case without `quirks` is matched exactly, unless the provider would refuse its outcome or text would be lost: then
the provider wins, and `OTHERWISE` says what comes out instead, and why. A case with `quirks` shows a fault of the
reference; `BETTER` says what comes out instead.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from provider_testing import sent, vectors

from chatq_worker.prompts import Names
from for_each import for_each

FILES = ("claude", "mistral", "cohere", "ai21", "deepseek")
SOURCE_OF = {"mistral": "mistralai"}


class Otherwise(NamedTuple):
    """What comes out instead of the reference's outcome."""

    messages: list[dict[str, Any]]
    why: str


OTHERWISE: dict[tuple[str, str], Otherwise] = {
    ("mistral", "second-system-after-assistant-stays-system"): Otherwise(
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "r"},
            {"role": "user", "content": "n1"},
            {"role": "user", "content": "n2"},
        ],
        "Mistral refuses a last message of the system (400 code 3230)",
    ),
    ("mistral", "empty-prompt"): Otherwise(
        [{"role": "user", "content": "[Start a new chat]"}], "Mistral refuses a prompt without messages"
    ),
    ("ai21", "image-parts-kept-when-alone"): Otherwise(
        [{"role": "user", "content": "see"}, {"role": "assistant", "content": "ok"}],
        "AI21's contents are plain texts; a warning names the part that was left out",
    ),
}


def parameters(*, quirks: bool) -> list[Any]:
    return [
        pytest.param(file, case, id=f"{file}-{case['id']}")
        for file in FILES
        for case in vectors(file)
        if ("quirks" in case) is quirks
    ]


def translated(file: str, case: dict[str, Any], **job: Any) -> Any:
    """What the source gets for a case; the reference's options are said as a caller of chatq says them."""
    options = case["options"]
    messages = list(case["messages"])
    if options.get("use_sysprompt") is False:
        # chatq has no such switch: who wants no system prompt sends none.
        leading = next((i for i, m in enumerate(messages) if m["role"] != "system"), len(messages))
        messages[:leading] = [{**message, "role": "user"} for message in messages[:leading]]
    if options.get("prefill"):
        messages.append({"role": "assistant", "content": options["prefill"]})
    if options.get("use_tools"):
        job["tools"] = [
            {"type": "function", "function": {"name": name}} for name in ("get_weather", "f", "g")
        ]
    if "tools" in options:
        job["tools"] = options["tools"]
    if file == "deepseek":
        job.setdefault("params", {"thinking": {"type": "disabled"}})
    names = Names(**{**case["names"], "group": tuple(case["names"]["group"])})
    body = sent(SOURCE_OF.get(file, file), messages, names=names, **job).body
    if file == "claude":
        return {"system": body.get("system", []), "messages": body["messages"]}
    return body["messages"]


def as_the_provider_wants(file: str, expected: Any) -> Any:
    """The reference's outcome, but for what the provider refuses throughout."""
    if file == "mistral" and expected and expected[-1]["role"] == "assistant":
        # It refuses a last turn of the assistant that is not marked (400 code 3230).
        return [*expected[:-1], {**expected[-1], "prefix": True}]
    if file == "cohere":
        # In its v2 API a turn that calls tools carries tool_plan, not content.
        return [
            {"role": "assistant", "tool_plan": message["content"], "tool_calls": message["tool_calls"]}
            if "tool_calls" in message
            else message
            for message in expected
        ]
    return expected


@for_each(("file", "case"), parameters(quirks=False))
def test_a_case_without_quirks_is_matched_unless_the_provider_would_refuse_it(
    file: str, case: dict[str, Any]
) -> None:
    otherwise = OTHERWISE.get((file, case["id"]))
    expected = otherwise.messages if otherwise else as_the_provider_wants(file, case["expected"])

    assert translated(file, case) == expected


@for_each("case", [pytest.param(case, id=case["id"]) for case in vectors("deepseek") if "quirks" not in case])
def test_deepseeks_earlier_turns_carry_a_thought_while_it_thinks(case: dict[str, Any]) -> None:
    # 400 otherwise, for every earlier turn; at least a space.
    expected = [
        {**message, "reasoning_content": message.get("reasoning_content") or " "}
        if message["role"] == "assistant" and "prefix" not in message
        else message
        for message in case["expected"]
    ]

    assert translated("deepseek", case, params={}) == expected


BETTER: dict[tuple[str, str], Any] = {
    ("claude", "empty-prompt-without-sysprompt"): {
        "system": [],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "[Start a new chat]"}]}],
    },
    ("claude", "assistant-first-is-not-fixed"): {
        "system": [{"type": "text", "text": "a"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "[Start a new chat]"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "greet"}]},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        ],
    },
    ("claude", "prefill-all-blank-gives-empty-text"): {
        "system": [],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    },
    ("claude", "names-prefix-not-deduplicated"): {
        "system": [],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Bob: hi"}]}],
    },
    ("claude", "remote-url-image-is-mangled"): {
        "system": [],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                ],
            }
        ],
    },
    ("claude", "empty-string-content-stays-empty-text"): {
        "system": [],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "[Start a new chat]"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "x"}]},
        ],
    },
    ("claude", "assistant-image-then-assistant-only-leaves-empty-user"): {
        "system": [],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "pic"}, {"type": "text", "text": "more"}],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAA1"},
                    }
                ],
            },
        ],
    },
    ("claude", "tool-use-text-content-lost"): {
        "system": [],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "let me check"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "A"}]},
        ],
    },
    # Without tools the call stays a call: the tool is named, and not to be called (test_claude).
    ("claude", "tool-use-flattened-without-tools"): {
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Oslo"}}
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": '{"t":5}'}],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "5 degrees."}]},
            {"role": "user", "content": [{"type": "text", "text": "thanks"}]},
        ],
    },
    ("claude", "tool-arguments-unicode-flattened"): {
        "system": [],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "q"}]},
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "c1",
                        "name": "f",
                        "input": {"城市": "奥斯陆", "n": 1.5, "ok": True, "z": None},
                    }
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "五度"}]},
        ],
    },
    ("mistral", "name-kept-when-already-prefixed"): [{"role": "user", "content": "Bob: hi"}],
    ("mistral", "system-name-kept-when-not-example"): [
        {"role": "system", "content": "n"},
        {"role": "user", "content": "x"},
    ],
    # Neighbours of one role are taken by Mistral's and Cohere's types; a mode joins them for whoever wants it.
    ("mistral", "example-names"): [
        {"role": "system", "content": "Bob: q"},
        {"role": "system", "content": "Alice: r"},
        {"role": "user", "content": "x"},
    ],
    ("mistral", "example-without-configured-names"): [
        {"role": "system", "content": "q"},
        {"role": "system", "content": "r"},
        {"role": "user", "content": "x"},
    ],
    ("mistral", "user-after-tool-skips-empty-earlier-user"): [
        {"role": "user", "content": "first\n\nhey"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "bcfe21e62", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "bcfe21e62", "content": "A"},
    ],
    ("mistral", "system-after-assistant-becomes-user"): [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "r"},
        {"role": "user", "content": "note"},
        {"role": "user", "content": "q2"},
    ],
    ("cohere", "example-names"): [
        {"role": "system", "content": "Bob: q"},
        {"role": "system", "content": "Alice: r"},
        {"role": "user", "content": "x"},
    ],
    ("cohere", "tool-call-own-text-overwritten-by-primer"): [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "tool_plan": "my text",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
    ],
    ("cohere", "message-after-swallow-is-skipped"): [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "tool_plan": "thinking",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "No result was recorded for this call."},
        {"role": "user", "content": "Bob: hi"},
        {"role": "assistant", "content": "Alice: end"},
    ],
    ("cohere", "consecutive-roles-not-merged"): [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "b"},
        {"role": "system", "content": "c"},
    ],
    ("ai21", "blank-system-kept-as-empty-message"): [{"role": "user", "content": "q"}],
    ("ai21", "empty-content-still-joined"): [{"role": "user", "content": "a\n\nb"}],
    ("ai21", "tool-results-merge-into-one"): [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
        {"role": "tool", "tool_call_id": "c2", "content": "B"},
    ],
    ("ai21", "tool-call-after-assistant-loses-calls"): [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": "t",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "A"},
    ],
}


@for_each(("file", "case"), parameters(quirks=True))
def test_a_case_with_a_fault_gets_the_better_outcome(file: str, case: dict[str, Any]) -> None:
    assert translated(file, case) == BETTER[file, case["id"]]
