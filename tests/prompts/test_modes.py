"""The table of modes, and what is said about a mode that is not in it."""

import pickle

import pytest

from chatq_worker.prompts import MODES, UnknownMode, mode_keeps_tools, post_process, tools_variant
from for_each import for_each


def test_there_are_eight_modes_from_least_to_most_restrictive() -> None:
    assert MODES == ("none", "merge", "merge_tools", "semi", "semi_tools", "strict", "strict_tools", "single")


@for_each("mode", ["none", "merge_tools", "semi_tools", "strict_tools"])
def test_a_mode_that_keeps_tools_says_so(mode: str) -> None:
    assert mode_keeps_tools(mode) is True


@for_each("mode", ["merge", "semi", "strict", "single"])
def test_a_mode_that_takes_tools_out_says_so(mode: str) -> None:
    assert mode_keeps_tools(mode) is False


@for_each(
    ("mode", "variant"),
    [
        ("none", "none"),
        ("merge", "merge_tools"),
        ("merge_tools", "merge_tools"),
        ("semi", "semi_tools"),
        ("semi_tools", "semi_tools"),
        ("strict", "strict_tools"),
        ("strict_tools", "strict_tools"),
    ],
)
def test_the_variant_for_tools_is_the_mode_of_the_same_strictness(mode: str, variant: str) -> None:
    assert tools_variant(mode) == variant


def test_single_has_no_variant_for_tools_so_the_most_restrictive_that_keeps_them_is_named() -> None:
    assert tools_variant("single") == "strict_tools"


def test_every_variant_for_tools_keeps_tools() -> None:
    assert [mode for mode in MODES if not mode_keeps_tools(tools_variant(mode))] == []


def test_an_unknown_mode_is_an_error_that_lists_the_eight_and_names_the_nearest() -> None:
    with pytest.raises(UnknownMode) as caught:
        post_process([{"role": "user", "content": "hi"}], "strickt")
    assert str(caught.value) == (
        "unknown post_processing mode 'strickt': expected one of none, merge, merge_tools, semi, semi_tools, "
        "strict, strict_tools, single; did you mean strict?"
    )
    assert caught.value.mode == "strickt"


def test_a_mode_that_resembles_none_of_the_eight_gets_no_guess() -> None:
    with pytest.raises(UnknownMode, match=r"strict_tools, single$"):
        post_process([], "xyzzy")


@for_each("mode", [None, 3, ["merge"], "", "MERGE", " merge"])
def test_whatever_is_not_the_exact_name_of_a_mode_is_unknown(mode: object) -> None:
    with pytest.raises(UnknownMode, match="expected one of none, merge"):
        post_process([], mode)  # type: ignore[arg-type]


def test_an_unknown_mode_is_also_a_value_error() -> None:
    with pytest.raises(ValueError, match="unknown post_processing mode"):
        mode_keeps_tools("nothing")


def test_the_error_survives_being_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(UnknownMode("semy")))
    assert (error.mode, str(error)) == ("semy", str(UnknownMode("semy")))


def test_the_former_name_claude_still_means_merge() -> None:
    assert post_process([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "claude") == [
        {"role": "user", "content": "a\n\nb"}
    ]
    assert tools_variant("claude") == "merge_tools"
    assert "claude" not in MODES
