"""The rules in the corners that the reference cases do not reach."""

import copy
from types import MappingProxyType
from typing import Any

import pytest

from chatq_worker.prompts import MODES, Names, post_process
from for_each import for_each

NAMES = Names(char="Alice", user="Bob", group=("Alice", "Carol"))
ALL_BUT_NONE = [mode for mode in MODES if mode != "none"]
WITH_TOOLS = ["merge_tools", "semi_tools", "strict_tools"]
WITHOUT_TOOLS = ["merge", "semi", "strict", "single"]

IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.test/1.png"}}


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def assistant(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def system(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "system", "content": content, **more}


def result(call_id: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


def call(call_id: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}


# Content


@for_each(
    "part",
    [
        IMAGE,
        {"type": "video_url", "video_url": {"url": "https://pictures.test/1.mp4"}},
        {"type": "audio_url", "audio_url": {"url": "https://pictures.test/1.mp3"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "refusal", "refusal": "No."},
        {"type": "hologram", "depth": 3, "layers": [1, 2.5, None, True]},
        {"text": "a part without a type"},
        {"type": "text", "text": {"value": "a text part whose text is no string"}},
    ],
)
@for_each("mode", ALL_BUT_NONE)
def test_a_part_that_is_not_text_is_kept_whole_and_in_place(mode: str, part: dict[str, Any]) -> None:
    content = [{"type": "text", "text": "before"}, part, {"type": "text", "text": "after"}]
    assert post_process([user(content)], mode) == [user(content)]


@for_each("mode", ALL_BUT_NONE)
def test_each_run_of_text_between_media_is_one_part_also_across_messages(mode: str) -> None:
    messages = [
        user("a"),
        user([{"type": "text", "text": "b"}, IMAGE]),
        user("c"),
        user([IMAGE, IMAGE]),
        user(""),
    ]
    text_ab, text_c = {"type": "text", "text": "a\n\nb"}, {"type": "text", "text": "c"}
    assert post_process(messages, mode) == [user([text_ab, IMAGE, text_c, IMAGE, IMAGE])]


def test_a_bare_string_in_a_list_of_parts_is_text() -> None:
    assert post_process([user(["a", {"type": "text", "text": "b"}])], "merge") == [user("a\n\nb")]


def test_a_content_of_an_unknown_kind_is_one_part() -> None:
    assert post_process([user(IMAGE)], "merge") == [user([IMAGE])]
    assert post_process([user({"type": "text", "text": "a"})], "merge") == [user("a")]


@for_each("content", ["", None, [], [{"type": "text", "text": ""}], [{"type": "text", "text": None}]])
@for_each("mode", ALL_BUT_NONE)
def test_an_empty_message_is_dropped_whatever_its_role_and_name(mode: str, content: Any) -> None:
    empties = [{"role": role, "name": "Zed", "content": content} for role in ("system", "user", "assistant")]
    assert post_process([*empties, user("hi"), *empties], mode) == [user("hi")]


def test_a_refusal_beside_a_null_content_is_what_the_assistant_said() -> None:
    messages = [user("q"), assistant(None, refusal="I cannot."), assistant("Sorry.", refusal=None)]
    assert post_process(messages, "merge") == [user("q"), assistant("I cannot.\n\nSorry.")]
    assert post_process(messages, "single", names=NAMES) == [
        user("Bob: q\n\nAlice: I cannot.\n\nAlice: Sorry.")
    ]


# Names


def test_a_prefix_before_a_first_media_part_is_its_own_text_part() -> None:
    messages = [user([IMAGE, {"type": "text", "text": "look"}], name="Bob")]
    expected = [user([{"type": "text", "text": "Bob: "}, IMAGE, {"type": "text", "text": "look"}])]
    assert post_process(messages, "merge") == expected


def test_single_writes_the_speaker_before_a_first_media_part_too() -> None:
    messages = [user("q"), assistant([IMAGE])]
    assert post_process(messages, "single", names=NAMES) == [
        user([{"type": "text", "text": "Bob: q\n\nAlice: "}, IMAGE])
    ]


@for_each("name", ["O'Hara", "a:b", "  ", "\n", "🙂", "{0}", "%s", "example_user", "(.*)"])
def test_any_name_is_written_as_it_is(name: str) -> None:
    assert post_process([user("hi", name=name)], "merge") == [user(f"{name}: hi")]
    assert post_process([user(f"{name}: hi", name=name)], "merge") == [user(f"{name}: hi")]


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_name_that_is_none_is_removed(name: Any) -> None:
    assert post_process([user("hi", name=name)], "merge") == [user("hi")]


def test_a_named_message_speaks_for_its_own_name_in_single() -> None:
    messages = [
        user("hey", name="Zed"),
        assistant("yo", name="Carol"),
        assistant("Carol: me"),
        assistant("ok"),
    ]
    expected = "Zed: hey\n\nCarol: yo\n\nCarol: me\n\nAlice: ok"
    assert post_process(messages, "single", names=NAMES) == [user(expected)]


def test_an_empty_group_name_is_no_prefix() -> None:
    names = Names(char="Alice", group=("",))
    assert post_process([assistant(": hi")], "single", names=names) == [user("Alice: : hi")]


def test_a_group_without_a_char_gives_the_assistant_no_name() -> None:
    assert post_process([assistant("hi")], "single", names=Names(group=("Carol",))) == [user("hi")]


def test_the_developer_is_the_system_and_can_speak_an_example() -> None:
    messages = [{"role": "developer", "name": "example_user", "content": "hi"}, user("go")]
    assert post_process(messages, "merge", names=NAMES) == [system("Bob: hi"), user("go")]


def test_the_developer_and_a_system_message_are_one() -> None:
    messages = [{"role": "developer", "content": "a"}, system("b"), user("q")]
    assert post_process(messages, "semi") == [system("a\n\nb"), user("q")]


def test_a_message_of_calls_alone_has_no_text_to_put_a_name_before() -> None:
    messages = [user("q"), assistant(None, name="Alice", tool_calls=[call("c1")])]
    assert post_process(messages, "merge_tools") == [user("q"), assistant("", tool_calls=[call("c1")])]


# Tools


@pytest.mark.parametrize("mode", ["merge", "semi", "strict"])
def test_without_tools_media_of_a_tool_result_becomes_the_users(mode: str) -> None:
    messages = [user("q"), assistant("", tool_calls=[call("c1")]), result("c1", ["A", IMAGE]), user("z")]
    text_q, text_z = {"type": "text", "text": "q\n\nA"}, {"type": "text", "text": "z"}
    assert post_process(messages, mode) == [user([text_q, IMAGE, text_z])]


@for_each("mode", WITHOUT_TOOLS)
def test_without_tools_an_empty_tool_result_is_dropped(mode: str) -> None:
    messages = [user("q"), assistant("", tool_calls=[call("c1")]), result("c1", "")]
    assert post_process(messages, mode) == [user("q")]


@pytest.mark.parametrize("mode", WITH_TOOLS)
def test_with_tools_a_text_gets_the_calls_that_follow_it(mode: str) -> None:
    messages = [
        user("q"),
        assistant("let me see"),
        assistant(None, tool_calls=[call("c1")]),
        result("c1", "A"),
    ]
    both = assistant("let me see", tool_calls=[call("c1")])
    assert post_process(messages, mode) == [user("q"), both, result("c1", "A")]


def test_merge_tools_joins_nothing_behind_calls() -> None:
    messages = [user("q"), assistant("", tool_calls=[call("c1")]), assistant("t", tool_calls=[call("c2")])]
    assert post_process(messages, "merge_tools") == messages


@pytest.mark.parametrize("mode", ["semi_tools", "strict_tools"])
def test_a_mode_that_promises_alternation_joins_behind_calls_too(mode: str) -> None:
    messages = [
        user("q"),
        assistant("a", tool_calls=[call("c1")]),
        assistant("b"),
        assistant("", tool_calls=[call("c2")]),
        result("c1", "A"),
        result("c2", "B"),
    ]
    both = assistant("a\n\nb", tool_calls=[call("c1"), call("c2")])
    assert post_process(messages, mode) == [user("q"), both, result("c1", "A"), result("c2", "B")]


@pytest.mark.parametrize("mode", WITH_TOOLS)
def test_calls_bring_their_reasoning_along(mode: str) -> None:
    messages = [
        user("q"),
        assistant("a", weight=1),
        assistant("", tool_calls=[call("c1")], reasoning_content="r", weight=0),
    ]
    both = assistant("a", weight=1, tool_calls=[call("c1")], reasoning_content="r")
    assert post_process(messages, mode) == [user("q"), both]


@for_each("mode", WITH_TOOLS)
@for_each("nothing", [None, []])
def test_no_calls_written_out_are_no_calls(mode: str, nothing: Any) -> None:
    messages = [
        user("q"),
        assistant("", tool_calls=nothing, function_call=None, audio=None),
        assistant("a", tool_calls=nothing),
        assistant("b"),
    ]
    assert post_process(messages, mode) == [user("q"), assistant("a\n\nb")]


# OpenAI's older format: one `function_call`, answered by role `function` under the function's name.

OLD_CALL = {"name": "f", "arguments": "{}"}
OLD_ROUND = [
    user("q"),
    assistant(None, function_call=OLD_CALL),
    {"role": "function", "name": "f", "content": "A"},
    assistant("done"),
]


@pytest.mark.parametrize("mode", WITH_TOOLS)
def test_with_tools_the_older_format_stays_with_the_name_that_ties_result_to_call(mode: str) -> None:
    expected = [OLD_ROUND[0], assistant("", function_call=OLD_CALL), *OLD_ROUND[2:]]
    assert post_process(OLD_ROUND, mode, names=NAMES) == expected


@pytest.mark.parametrize("mode", ["merge", "semi", "strict"])
def test_without_tools_the_older_format_goes_the_way_of_the_newer(mode: str) -> None:
    assert post_process(OLD_ROUND, mode, names=NAMES) == [user("q\n\nA"), assistant("done")]


def test_in_single_a_result_of_the_older_format_is_spoken_by_nobody() -> None:
    assert post_process(OLD_ROUND, "single", names=NAMES) == [user("Bob: q\n\nA\n\nAlice: done")]


def test_two_calls_of_the_older_format_stay_apart_because_a_message_has_room_for_one() -> None:
    messages = [user("q"), assistant("", function_call=OLD_CALL), assistant("", function_call=OLD_CALL)]
    assert post_process(messages, "strict_tools") == messages


def test_a_spoken_answer_is_not_empty_and_is_kept_when_joined() -> None:
    messages = [user("q"), assistant("a"), assistant(None, audio={"id": "audio_1"})]
    assert post_process(messages, "strict") == [user("q"), assistant("a", audio={"id": "audio_1"})]


def test_in_single_a_spoken_answer_goes_because_only_an_assistant_can_hold_it() -> None:
    messages = [user("q"), assistant(None, audio={"id": "audio_1"}), assistant("a")]
    assert post_process(messages, "single") == [user("q\n\na")]


# Turns


@for_each("mode", ALL_BUT_NONE)
def test_an_empty_prompt_becomes_the_placeholder_asked_for(mode: str) -> None:
    assert post_process([], mode, placeholder="Begin.") == [user("Begin.")]


@pytest.mark.parametrize("mode", ["strict", "strict_tools"])
def test_a_leading_empty_user_message_does_not_count_as_the_users_turn(mode: str) -> None:
    messages = [user(""), system("s"), assistant("hi")]
    expected = [system("s"), user("Begin."), assistant("hi")]
    assert post_process(messages, mode, placeholder="Begin.") == expected


def test_an_empty_message_does_not_part_the_leading_system_messages() -> None:
    assert post_process([system("a"), user(""), system("b"), user("q")], "strict") == [
        system("a\n\nb"),
        user("q"),
    ]


def test_a_later_system_message_is_the_user_that_comes_first() -> None:
    messages = [assistant(""), user(""), system("s"), assistant("hi"), system("t")]
    assert post_process(messages, "strict") == [
        system("s"),
        user("[Start a new chat]"),
        assistant("hi"),
        user("t"),
    ]


def test_a_role_that_nobody_knows_is_left_alone() -> None:
    messages = [user("q"), {"role": "critic", "content": "a"}, {"role": "critic", "content": "b"}]
    assert post_process(messages, "strict", names=NAMES) == [
        user("q"),
        {"role": "critic", "content": "a\n\nb"},
    ]
    assert post_process(messages, "single", names=NAMES) == [user("Bob: q\n\na\n\nb")]


@for_each("mode", ALL_BUT_NONE)
def test_keys_that_no_rule_speaks_of_stay(mode: str) -> None:
    message = user("q", cache_control={"type": "ephemeral"}, weight=0.5, tags=["a", ["b"]])
    assert post_process([message], mode) == [message]


# Purity


RICH = [
    system("s", meta={"deep": [{"er": 1}]}),
    user(["hi", {"type": "image_url", "image_url": {"url": "u", "more": [1, {"x": 2}]}}], name="Bob"),
    assistant("a", reasoning_details=[{"text": "r"}]),
    assistant(None, tool_calls=[call("c1")]),
    result("c1", [{"type": "file", "file": {"file_id": "f"}}]),
    user([{"type": "other", "tuple": ({"y": 3},)}]),
]


def change_all(value: Any) -> None:
    """Change every list and dict that can be reached, innermost first."""
    if isinstance(value, dict):
        for item in value.values():
            change_all(item)
        value["changed"] = True
    elif isinstance(value, list | tuple):
        for item in value:
            change_all(item)
        if isinstance(value, list):
            value.append("changed")


@for_each("mode", MODES)
def test_changing_the_output_however_deep_leaves_the_input_alone(mode: str) -> None:
    messages = copy.deepcopy(RICH)
    change_all(post_process(messages, mode, names=NAMES))
    assert messages == RICH


def test_none_gives_back_equal_messages() -> None:
    assert post_process(RICH, "none", names=NAMES) == RICH


@for_each("mode", MODES)
def test_messages_may_be_any_sequence_of_any_mapping(mode: str) -> None:
    frozen = tuple(MappingProxyType(message) for message in RICH)
    assert post_process(frozen, mode) == post_process(RICH, mode)


def test_parts_may_be_any_mapping() -> None:
    parts = (MappingProxyType({"type": "text", "text": "a"}), MappingProxyType(IMAGE))
    assert post_process([user(parts)], "merge") == [user([{"type": "text", "text": "a"}, IMAGE])]


@for_each("mode", MODES)
def test_a_part_nested_as_deep_as_a_job_can_be_stored_is_copied(mode: str) -> None:
    deep: Any = "bottom"
    for _ in range(127):  # 254 levels: what the JSON writer of the ledger takes at most
        deep = [{"down": deep}]
    content = [{"type": "deep", "down": deep}]
    assert post_process([user(content)], mode) == [user(content)]
