"""What holds for every prompt: the reference cases', and generated ones of every shape messages can take.

Each property is tried in all modes that promise it. The helpers below read a prompt in the plainest way there
is, and share nothing with the code under test.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from chatq_worker.prompts import MODES, Names, post_process

Messages = list[dict[str, Any]]

ALL_BUT_NONE = [mode for mode in MODES if mode != "none"]
WITH_TOOLS = ["merge_tools", "semi_tools", "strict_tools"]
WITHOUT_TOOLS = ["merge", "semi", "strict", "single"]
ONE_SYSTEM = ["semi", "semi_tools", "strict", "strict_tools", "single"]

RESULT_ROLES = ("tool", "function")

NAMES = Names(char="Alice", user="Bob", group=("Alice", "Carol"))

# Prompts

texts = st.one_of(
    st.text(alphabet="ab \n:é🙂", max_size=6),
    st.sampled_from(["Alice: hi", "Bob: hi", "Carol: hi", "Bob:hi", "\n\n", " ", "[Start a new chat]"]),
)
texts_or_nothing = st.one_of(st.just(""), texts)
names = st.sampled_from(
    ["Alice", "Bob", "Carol", "Zed", "example_user", "example_assistant", "a: b", "é 🙂", ""]
)
small = st.integers(0, 5)

text_parts = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts_or_nothing),
    st.builds(lambda text: {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}, texts),
    st.just({"type": "text"}),
    st.just({"type": "text", "text": None}),
    texts_or_nothing,
)
media_parts = st.one_of(
    st.builds(
        lambda n: {"type": "image_url", "image_url": {"url": f"u{n}", "detail": "low"}, "extra": n}, small
    ),
    st.builds(lambda n: {"type": "video_url", "video_url": {"url": f"u{n}"}}, small),
    st.builds(lambda n: {"type": "audio_url", "audio_url": {"url": f"u{n}"}}, small),
    st.builds(lambda n: {"type": "input_audio", "input_audio": {"data": f"u{n}", "format": "mp3"}}, small),
    st.builds(lambda n: {"type": "file", "file": {"file_id": f"u{n}"}}, small),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, texts),
    st.builds(lambda n: {"type": "never_heard_of", "deep": [{"er": [n, None, True, 0.5]}]}, small),
    st.builds(lambda n: {"no type": n}, small),
)
contents = st.one_of(
    st.none(), texts_or_nothing, texts, st.lists(st.one_of(text_parts, media_parts), max_size=4)
)
calls = st.builds(
    lambda n: {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}, small
)
others = {"weight": small, "meta": st.builds(lambda n: {"deep": [n]}, small), "reasoning_content": texts}
said = {"content": contents, "name": names, **others}

messages_of_anyone = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "user", "assistant", "assistant", "critic"])},
    optional=said,
)
messages_of_the_assistant = st.fixed_dictionaries(
    {"role": st.just("assistant")},
    optional={
        **said,
        "tool_calls": st.one_of(st.none(), st.lists(calls, max_size=2)),
        "function_call": st.one_of(
            st.none(), st.builds(lambda n: {"name": f"f{n}", "arguments": "{}"}, small)
        ),
        "refusal": st.one_of(st.none(), texts_or_nothing),
        "audio": st.one_of(st.none(), st.builds(lambda n: {"id": f"a{n}"}, small)),
    },
)
tool_results = st.fixed_dictionaries(
    {"role": st.just("tool"), "tool_call_id": st.builds(lambda n: f"c{n}", small)}, optional=said
)
old_results = st.fixed_dictionaries(
    {"role": st.just("function"), "name": st.builds(lambda n: f"f{n}", small)}, optional={"content": contents}
)
prompts = st.lists(
    st.one_of(messages_of_anyone, messages_of_the_assistant, tool_results, old_results), max_size=9
)

REFERENCE_PROMPTS: list[Messages] = [
    json.loads(prompt)
    for prompt in dict.fromkeys(
        json.dumps(json.loads(line)["messages"])
        for line in (Path(__file__).parent / "data" / "postprocess.jsonl").read_text("utf-8").splitlines()
    )
]


def for_every_prompt(test: Callable[[Messages], None]) -> Callable[[], None]:
    """Run `test` on the reference prompts, then on generated ones."""
    for prompt in REFERENCE_PROMPTS:
        test = example(messages=prompt)(test)
    return given(messages=prompts)(test)


# How a prompt is read


def parts_of(message: dict[str, Any]) -> list[Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    return [*parts, message.get("refusal")]


def texts_of(message: dict[str, Any]) -> list[str]:
    """Each non-empty text in the message."""
    return [text for text in map(text_of, parts_of(message)) if text]


def text_of(part: Any) -> Any:
    if isinstance(part, dict):
        return part.get("text") if part.get("type") == "text" else None
    return part


def media_of(message: dict[str, Any]) -> list[Any]:
    return [part for part in parts_of(message) if isinstance(part, dict) and part.get("type") != "text"]


def calls_and_results(messages: Messages) -> Iterator[tuple[str, Any]]:
    """What is called and what is answered, in order; a result with all that it says."""
    for message in messages:
        for call in message.get("tool_calls") or []:
            yield "call", call
        if message.get("function_call"):
            yield "old call", message["function_call"]
        if message["role"] in RESULT_ROLES:
            link = message.get("tool_call_id", message.get("name"))
            yield "result", (link, "\n\n".join(texts_of(message)), media_of(message))


def hold_the_same_for_which_there_is_room_once(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return any(key in one and key in other for key in ("function_call", "audio"))


# Properties


@for_every_prompt
def test_in_strict_modes_no_two_neighbours_have_one_role_but_tool_results(messages: Messages) -> None:
    for mode in ONE_SYSTEM:
        out = post_process(messages, mode, names=NAMES)
        for one, other in pairwise(out):
            assert (
                one["role"] != other["role"]
                or one["role"] in RESULT_ROLES
                or hold_the_same_for_which_there_is_room_once(one, other)
            ), mode


@for_every_prompt
def test_in_merge_modes_neighbours_of_one_role_are_results_or_stand_behind_calls(messages: Messages) -> None:
    for mode in ("merge", "merge_tools"):
        out = post_process(messages, mode, names=NAMES)
        for one, other in pairwise(out):
            assert (
                one["role"] != other["role"]
                or one["role"] in RESULT_ROLES
                or "tool_calls" in one
                or "function_call" in one
                or hold_the_same_for_which_there_is_room_once(one, other)
            ), mode


@for_every_prompt
def test_in_strict_modes_there_is_at_most_one_system_message_and_it_is_first(messages: Messages) -> None:
    for mode in ONE_SYSTEM:
        roles = [message["role"] for message in post_process(messages, mode, names=NAMES)]
        assert "system" not in roles[1:], mode


@for_every_prompt
def test_strict_has_the_user_first_behind_the_system(messages: Messages) -> None:
    for mode in ("strict", "strict_tools"):
        roles = [message["role"] for message in post_process(messages, mode, names=NAMES)]
        assert next(role for role in roles if role != "system") == "user", mode


@for_every_prompt
def test_single_is_one_user_message(messages: Messages) -> None:
    assert [message["role"] for message in post_process(messages, "single", names=NAMES)] == ["user"]


@for_every_prompt
def test_every_media_part_is_still_there_once_and_in_order(messages: Messages) -> None:
    before = [part for message in messages for part in media_of(message)]
    for mode in MODES:
        out = post_process(messages, mode, names=NAMES)
        assert [part for message in out for part in media_of(message)] == before, mode


@for_every_prompt
def test_with_tools_every_call_is_answered_by_the_same_results_as_before(messages: Messages) -> None:
    before = list(calls_and_results(messages))
    for mode in WITH_TOOLS:
        assert list(calls_and_results(post_process(messages, mode, names=NAMES))) == before, mode


@for_every_prompt
def test_without_tools_nothing_of_them_is_left(messages: Messages) -> None:
    for mode in WITHOUT_TOOLS:
        for message in post_process(messages, mode, names=NAMES):
            assert message["role"] not in RESULT_ROLES, mode
            assert not {"tool_calls", "function_call", "tool_call_id"} & message.keys(), mode


@for_every_prompt
def test_no_text_is_lost_and_all_stay_in_order(messages: Messages) -> None:
    for mode in MODES:
        out = post_process(messages, mode, names=NAMES)
        whole = "\0".join(text for message in out for text in texts_of(message))
        position = 0
        for text in (text for message in messages for text in texts_of(message)):
            position = whole.find(text, position)
            assert position >= 0, (mode, text)
            position += len(text)


@for_every_prompt
def test_single_is_the_texts_with_one_speaker_each_at_most_and_blank_lines_between(
    messages: Messages,
) -> None:
    said = [{**message, "content": "\n\n".join(texts_of(message)), "refusal": None} for message in messages]
    chunks = []
    for message in said:
        if message["content"]:
            names = {"Alice", "Bob", message.get("name", "")} if message["role"] not in RESULT_ROLES else {""}
            speaker = f"(?:(?:{'|'.join(map(re.escape, names))}): )?" if any(names) else ""
            chunks.append(speaker + re.escape(message["content"]))
    expected = re.escape("\n\n").join(chunks) or re.escape("[Start a new chat]")
    [out] = post_process(said, "single", names=NAMES)
    assert re.fullmatch(expected, out["content"])


@for_every_prompt
def test_a_content_is_a_string_or_has_media_and_says_something(messages: Messages) -> None:
    for mode in ALL_BUT_NONE:
        for message in post_process(messages, mode, names=NAMES):
            content = message["content"]
            if isinstance(content, str):
                says = content or message.keys() & {"tool_calls", "function_call", "audio"}
                assert says or message["role"] in RESULT_ROLES, mode
            else:
                kinds = [part.get("type") == "text" for part in content]
                assert not all(kinds), mode
                assert (True, True) not in pairwise(kinds), mode
                assert all(part["text"] for part in content if part.get("type") == "text"), mode


@for_every_prompt
def test_no_name_of_a_speaker_and_no_developer_is_left(messages: Messages) -> None:
    for mode in ALL_BUT_NONE:
        for message in post_process(messages, mode, names=NAMES):
            assert message["role"] != "developer", mode
            assert "name" not in message or message["role"] == "function", mode


@for_every_prompt
def test_with_empty_names_a_second_pass_changes_nothing(messages: Messages) -> None:
    for mode in MODES:
        once = post_process(messages, mode)
        assert post_process(once, mode) == once, mode


@for_every_prompt
def test_with_names_only_single_speaks_again(messages: Messages) -> None:
    for mode in MODES:
        if mode != "single":
            once = post_process(messages, mode, names=NAMES)
            # `none` leaves the names where they are, so there is nothing that a second pass could repeat.
            assert post_process(once, mode, names=NAMES) == once, mode


@for_every_prompt
def test_a_milder_mode_before_a_stricter_one_makes_no_difference(messages: Messages) -> None:
    """So a source may put its own mode behind the job's."""
    # Left out: what a message has room for once (who joins first decides), and other keys (the first's stay).
    kept = ("role", "content", "name", "tool_calls", "tool_call_id")
    plain = [{key: message[key] for key in kept if key in message} for message in messages]
    for milder, stricter in (
        ("merge", "semi"),
        ("semi", "strict"),
        ("merge_tools", "semi_tools"),
        ("semi_tools", "strict_tools"),
        ("merge_tools", "merge"),
    ):
        twice = post_process(post_process(plain, milder), stricter)
        assert twice == post_process(plain, stricter), (milder, stricter)


@for_every_prompt
def test_the_input_is_never_changed(messages: Messages) -> None:
    before = copy.deepcopy(messages)
    for mode in MODES:
        post_process(messages, mode, names=NAMES)
        assert messages == before, mode


@for_every_prompt
def test_none_leaves_every_message_as_it_is(messages: Messages) -> None:
    assert post_process(messages, "none", names=NAMES) == messages
