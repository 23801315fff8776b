"""Tools and tool_choice in OpenAI's words, taken apart for sources with words of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from chatq_worker.providers.parameters import Parameters

NO_PARAMETERS: Final[Mapping[str, Any]] = {"type": "object", "properties": {}}
"""The JSON schema of a function without parameters, for sources that must have one."""


class Function(NamedTuple):
    """A function on offer. `rest`: keys of the tool beside type and function."""

    name: str
    description: str | None
    parameters: Mapping[str, Any] | None
    strict: bool | None
    rest: Mapping[str, Any]


class Choice(NamedTuple):
    """`mode` is auto, none or required; `function` names the one that must be called."""

    mode: str
    function: str | None = None


def function_of(tool: Any) -> Function | None:
    """The function in an OpenAI tool; None for a tool of another kind (a source's own)."""
    if not isinstance(tool, Mapping) or tool.get("type", "function") != "function":
        return None
    function = tool.get("function")
    if not isinstance(function, Mapping):
        return None
    description, parameters, strict = (function.get(key) for key in ("description", "parameters", "strict"))
    return Function(
        name=str(function.get("name") or ""),
        description=description if isinstance(description, str) else None,
        parameters=parameters if isinstance(parameters, Mapping) else None,
        strict=strict if isinstance(strict, bool) else None,
        rest={key: value for key, value in tool.items() if key not in ("type", "function")},
    )


def openai_tool(function: Function, *, strict: bool = True) -> dict[str, Any]:
    """The function as a tool, with OpenAI's keys only. `strict` False: for sources that do not know that word."""
    inner: dict[str, Any] = {"name": function.name}
    if function.description is not None:
        inner["description"] = function.description
    inner["parameters"] = function.parameters if function.parameters is not None else NO_PARAMETERS
    if strict and function.strict is not None:
        inner["strict"] = function.strict
    return {"type": "function", "function": inner}


def functions_only(tools: Sequence[Any] | None, source: str) -> tuple[list[Function], list[str]]:
    """The functions on offer, and a warning for each tool of another kind."""
    functions, warnings = [], []
    for tool in tools or ():
        function = function_of(tool)
        if function is None:
            kind = tool.get("type") if isinstance(tool, Mapping) else type(tool).__name__
            warnings.append(f"A tool of type {kind} was left out: {source} takes functions only.")
        else:
            functions.append(function)
    return functions, warnings


def choice_of(tool_choice: Any) -> Choice | None:
    """A tool_choice in any of its forms: auto, none, required (or any), {"type": "function", "function": {"name"}},
    and the flat {"type": "function", "name"}. None when it is not given, or none of these."""
    if isinstance(tool_choice, str):
        mode = {"auto": "auto", "none": "none", "required": "required", "any": "required"}.get(
            tool_choice.lower()
        )
        return Choice(mode) if mode else None
    if not isinstance(tool_choice, Mapping):
        return None
    function = tool_choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else tool_choice.get("name")
    if isinstance(name, str) and name:
        return Choice("required", name)
    return choice_of(tool_choice.get("type")) if isinstance(tool_choice.get("type"), str) else None


def only(functions: Iterable[Function], name: str) -> list[Function]:
    """The function of that name alone: to offer nothing else is to force it. All of them when it is not on offer."""
    functions = list(functions)
    return [function for function in functions if function.name == name] or functions


def offer_tools(body: dict[str, Any], params: Parameters, *, knows_any: bool = False) -> None:
    """Put tools and their choice into a body in OpenAI's shape, in place. `knows_any`: the source has that word too."""
    choice, given = choice_of(params.tool_choice), params.tool_choice
    if not params.tools:
        if choice is not None and choice.mode != "none":
            params.warn("tool_choice", "no tools are offered")
        if (
            params.take("parallel_tool_calls") is not None
            or body.pop("parallel_tool_calls", None) is not None
        ):
            params.warn("parallel_tool_calls", "no tools are offered")
        return
    body["tools"] = list(params.tools)
    if choice is None:
        if given is not None:
            body["tool_choice"] = given
    elif choice.function is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": choice.function}}
    else:
        body["tool_choice"] = given if given == "any" and knows_any else choice.mode
