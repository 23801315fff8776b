"""The check of the SDKs' types is strict at every level: what it lets pass proves nothing otherwise."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Annotated, Any, Generic, Literal, Optional, Required, TypeVar, Union

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType, TypedDict

import strict

T = TypeVar("T")
Nullable = TypeAliasType("Nullable", Union[T, None], type_params=(T,))  # noqa: UP007 - as SDKs write it


class UnrecognizedStr(str):
    """As in Mistral's SDK."""


class SequenceNotStr(Generic[T]):
    """As in the SDKs that Stainless generates."""


class Text(TypedDict, total=False):
    type: Required[Literal["text"]]
    text: Required[str]


class Image(TypedDict, total=False):
    type: Required[Literal["image"]]
    url: Required[str]


class User(TypedDict, total=False):
    role: Required[Literal["user"]]
    content: Required[str | Iterable[Text | Image]]


class System(TypedDict, total=False):
    role: Required[Literal["system"]]
    content: Required[str]


class Request(TypedDict, total=False):
    messages: Required[Iterable[User | System]]
    temperature: Optional[float]  # noqa: UP045 - as SDKs write it
    n: int
    stop: SequenceNotStr[str]
    effort: Union[Literal["low", "high"], UnrecognizedStr]  # noqa: UP007 - as SDKs write it
    choice: Union[Literal["NONE"], Any]  # noqa: UP007 - as SDKs write it
    cap: Nullable[int]
    tags: dict[str, str]


class Color(enum.Enum):
    RED = "red"


class Model(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: Literal["model"] = "model"
    role: Literal["user"] | None = None
    color: Annotated[Color, "from the SDK"] = Color.RED
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")


def said(kind: Any, value: Any) -> list[str]:
    return list(strict.lines(strict.problems(value, kind)))


def request(**keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}], **keys}


def test_a_value_that_conforms_at_every_level_has_no_problem() -> None:
    parts = [{"type": "text", "text": "hi"}, {"type": "image", "url": "data:"}]
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": parts}]
    whole = request(
        messages=messages,
        temperature=1,
        n=2,
        stop=["a"],
        effort="low",
        choice="NONE",
        cap=None,
        tags={"a": "b"},
    )
    assert said(Request, whole) == []


def test_a_key_that_the_type_does_not_name_is_a_problem() -> None:
    assert said(Request, request(seed=1)) == ["seed: unknown key of Request"]


def test_an_unknown_key_inside_a_message_is_a_problem() -> None:
    value = request(messages=[{"role": "user", "content": "hi", "prefix": True}])
    assert said(Request, value) == ["messages[0].prefix: unknown key of User"]


def test_an_unknown_key_inside_a_part_of_a_message_is_a_problem() -> None:
    value = request(messages=[{"role": "user", "content": [{"type": "text", "text": "hi", "detail": "low"}]}])
    assert said(Request, value) == ["messages[0].content[0].detail: unknown key of Text"]


def test_a_required_key_that_is_missing_is_a_problem() -> None:
    assert said(Request, {}) == ["messages: missing; Request requires it"]
    assert said(Request, request(messages=[{"role": "user"}])) == [
        "messages[0].content: missing; User requires it"
    ]


def test_a_role_that_no_message_has_is_a_problem() -> None:
    assert said(Request, request(messages=[{"role": "usr", "content": "hi"}])) == [
        "messages[0].role: expected one of ['user'], came 'usr'"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", "1"),
        ("temperature", True),
        ("n", 1.5),
        ("n", True),
        ("n", None),
        ("stop", "a"),
        ("stop", [1]),
        ("cap", "1"),
        ("tags", {"a": 1}),
        ("tags", []),
        ("messages", {}),
        ("messages", "hi"),
    ],
)
def test_a_value_of_another_type_is_a_problem(key: str, value: Any) -> None:
    assert len(said(Request, request(**{key: value}))) == 1


@pytest.mark.parametrize(("key", "value"), [("effort", "max"), ("choice", "auto"), ("choice", {"any": 1})])
def test_an_enumeration_is_closed_even_where_the_sdk_takes_more(key: str, value: Any) -> None:
    [problem] = said(Request, request(**{key: value}))
    assert problem.startswith(f"{key}: expected one of ")


def test_a_model_that_allows_extra_keys_allows_none_here() -> None:
    assert said(Model, {"type": "model", "other": 1}) == ["other: unknown key of Model"]


def test_a_models_keys_are_those_of_its_json() -> None:
    assert said(Model, {"type": "model", "schema": {}}) == []
    assert said(Model, {"type": "model", "json_schema": {}}) == ["json_schema: unknown key of Model"]


def test_a_models_constant_must_be_there_though_it_has_a_default() -> None:
    assert said(Model, {}) == ["type: missing; Model requires it"]


def test_an_enum_takes_its_values_alone() -> None:
    assert said(Model, {"type": "model", "color": "red"}) == []
    assert said(Model, {"type": "model", "color": "RED"}) == ["color: expected one of ['red'], came 'RED'"]


def test_an_annotation_that_cannot_be_walked_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(TypeError, match="cannot walk"):
        strict.problems(1, complex)
