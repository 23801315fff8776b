"""A chat's parameters on their way into a source's words: renamed, bounded, or dropped with a warning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeGuard

from chatq_worker.providers.adapter import Chat
from chatq_worker.providers.model_rules import ModelRules, nearest_effort

CAPS: Final = ("max_completion_tokens", "max_tokens")
"""OpenAI's two names for the most tokens to answer with; the newer one counts when both are given."""

_OF_THE_QUEUE: Final = {
    "stream": "a queued job is answered as a whole",
    "stream_options": None,
}
_AS_WORDS: Final[Mapping[type, str]] = {list: "a list", str: "a text", Mapping: "an object"}
_NOT_PARAMETERS: Final = frozenset({"model", "messages"})


class Parameters:
    """The parameters that nobody has taken yet, and the warnings so far.

    A null is a parameter that was not given. `tools`, `tool_choice` and `response_format` may stand among the
    parameters, as in OpenAI's request body; the chat's own win.
    """

    def __init__(self, chat: Chat, source: str, rules: ModelRules) -> None:
        self._left = {
            name: value
            for name, value in chat.params.items()
            if value is not None and name not in _NOT_PARAMETERS
        }
        self._source = source
        self._model = chat.model
        self.warnings: list[str] = []
        self.tools: list[Any] | None = self._said("tools", chat.tools, list)
        self.tool_choice: str | Mapping[str, Any] | None = self._said(
            "tool_choice", chat.tool_choice, str, Mapping
        )
        self.response_format: Mapping[str, Any] | None = self._said(
            "response_format", chat.response_format, Mapping
        )
        for name, why in _OF_THE_QUEUE.items():
            if self._left.pop(name, None) and why and not chat.stream:
                self.warn(name, why)
        for name in sorted(rules.refuses):
            if name in self._left:
                self.drop(name, f"the model {self._model} does not take it")
        if rules.only_temperature_1 and self._left.get("temperature", 1) != 1:
            self.drop("temperature", f"the model {self._model} takes no other than 1")

    def warn(self, name: str, why: str) -> None:
        """Say that `name` was left out."""
        self.warnings.append(f"{name} was left out: {why}.")

    def changed(self, name: str, sent: object, why: str) -> None:
        """Say that `name` was sent as something else."""
        self.warnings.append(f"{name} was sent as {sent}: {why}.")

    def note(self, line: str) -> None:
        """Another warning, a sentence of its own."""
        self.warnings.append(line)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def get(self, name: str) -> Any:
        """The value of a parameter that stays, or None."""
        return self._left.get(name)

    def take(self, name: str) -> Any:
        """The value of a parameter, which is done with, or None."""
        return self._left.pop(name, None)

    def drop(self, name: str, why: str) -> None:
        """Leave a parameter out, if it is there, and say why."""
        if self._left.pop(name, None) is not None:
            self.warn(name, why)

    def drop_while_thinking(self, rules: ModelRules) -> None:
        """Leave out what the model does not heed while it thinks."""
        for name in sorted(rules.refuses_while_thinking):
            if name == "temperature" and self._left.get(name) == 1:
                continue
            self.drop(name, f"the model {self._model} does not heed it while it thinks")

    def output_cap(self, most: int | None = None) -> Any:
        """The most tokens to answer with, at most `most`, or None."""
        newer, older = (self.take(name) for name in CAPS)
        if newer is not None and older is not None and newer != older:
            self.warn("max_tokens", "max_completion_tokens says the same, and counts")
        cap = older if newer is None else newer
        if most is not None and is_number(cap) and cap > most:
            self.changed("max_tokens", most, f"the model {self._model} takes no more")
            return most
        return cap

    def effort(self, rules: ModelRules) -> str | None:
        """`reasoning_effort` in the nearest word that the model takes, or None."""
        wanted = self.take("reasoning_effort")
        if wanted is None:
            return None
        nearest = nearest_effort(wanted, rules.efforts) if isinstance(wanted, str) else None
        if nearest is None:
            self.warn("reasoning_effort", f"{self._source} knows no such effort")
        elif nearest != wanted:
            self.changed(
                "reasoning_effort", nearest, f"the model {self._model} has {', '.join(rules.efforts)}"
            )
        return nearest

    def rename(self, names: Mapping[str, str] | Iterable[str]) -> dict[str, Any]:
        """The parameters that the source takes, under its own names.

        `names`: OpenAI's words, and the source's own, to the source's; or those that are the same in both.
        """
        table = names if isinstance(names, Mapping) else {name: name for name in sorted(names)}
        return {theirs: self._left.pop(name) for name, theirs in table.items() if name in self._left}

    def bound(self, body: dict[str, Any], name: str, least: float, most: float, *, sent_as: str = "") -> None:
        """Keep a number of the body within what the source takes, in place. `name`: OpenAI's word for it."""
        key = sent_as or name
        value = body.get(key)
        if not is_number(value) or least <= value <= most:
            return
        body[key] = least if value < least else most
        self.changed(name, body[key], f"{self._source} takes {least:g} to {most:g}")

    def stops(self, name: str = "stop", *, most: int, only_text: bool = False) -> list[Any] | None:
        """The stop sequences as a list of at most `most`; with `only_text` without those of white space alone."""
        stop = self.take(name)
        if stop is None:
            return None
        stops = list(stop) if isinstance(stop, list | tuple) else [stop]
        if only_text:
            kept = [text for text in stops if not isinstance(text, str) or text.strip()]
            if len(kept) < len(stops):
                self.note(f"{name}: sequences of white space were left out: {self._source} refuses them.")
            stops = kept
        if len(stops) > most:
            self.note(f"{name}: all but the first {most} were left out: {self._source} takes no more.")
            stops = stops[:most]
        return stops or None

    def drop_rest(self) -> None:
        """Leave out everything that nobody took: the source would refuse it."""
        for name in list(self._left):
            self.drop(name, f"{self._source} does not take it")

    def rest(self) -> dict[str, Any]:
        """Everything that nobody took, for a source that takes anything."""
        rest, self._left = self._left, {}
        return rest

    def _said(self, name: str, own: Any, *kinds: type) -> Any:
        """What the chat itself says, or its parameters do; None for what is of no kind that it can be."""
        among = self._left.pop(name, None)
        value = among if own is None else list(own) if isinstance(own, tuple) else own
        if value is None or isinstance(value, kinds):
            return value
        self.warn(name, f"it must be {' or '.join(_AS_WORDS[kind] for kind in kinds)}")
        return None


def merged_params(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's parameters under a job's own. A cap of the job's replaces the connection's, whatever its name."""
    if any(own.get(name) is not None for name in CAPS):
        defaults = {name: value for name, value in defaults.items() if name not in CAPS}
    return {**defaults, **own}


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number: JSON's true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
