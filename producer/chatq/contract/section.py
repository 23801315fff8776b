"""What all parts of the settings have in common: frozen, no unknown keys, and every problem in one go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

RELATION = "relation"
"""pydantic error type of a `Broken` relation; its message is complete and holds no secret."""

_KNOWN_ERRORS = frozenset(get_args(ErrorType))


class Broken(NamedTuple):
    """A relation between settings that does not hold. `message`: what was expected, without any secret."""

    where: tuple[str | int, ...]
    """The setting to change, as seen from the section that checks."""
    message: str


class Section(BaseModel):
    """A mapping of the settings.

    pydantic checks relations only after every field is right, so a user would meet them one start later. Here
    `_broken_relations` is asked about the raw data too, and all problems come in one `ValidationError`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(
        cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        given = cls._without_empty_sections(data)
        section: Self | None = None
        problems: list[InitErrorDetails] = []
        try:
            section = handler(given)
        except ValidationError as error:
            problems += [_again(detail) for detail in error.errors(include_url=False)]
        for where, message in cls._broken_relations(given, info):
            # The message goes in as context: braces in it are not placeholders.
            told = PydanticCustomError(RELATION, "{message}", {"message": message})
            problems.append(InitErrorDetails(type=told, loc=where, input=peek(given, *where)))
        if section is None or problems:
            raise ValidationError.from_exception_data(cls.__name__, problems, hide_input=True)
        return section

    @classmethod
    def _broken_relations(cls, given: Mapping[str, Any], info: ValidationInfo) -> Iterator[Broken]:
        """Relations that `given`, as written and perhaps wrong in type, does not keep. Reads with `peek`."""
        yield from ()

    @classmethod
    def _without_empty_sections(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """`limits:` with every line below it commented out is null in YAML; it means "nothing given".

        A section that is not there at all is checked like an empty one: its defaults, too, meet the context.
        """
        given = dict(data)
        for name, field in cls.model_fields.items():
            key, factory = field.alias or name, field.default_factory
            if factory is not None and given.get(key) is None:
                given.pop(key, None)
                if isinstance(factory, type) and issubclass(factory, Section):
                    given[key] = {}
        return given


def peek(data: object, *path: str | int) -> Any:
    """The value at `path` in mappings and sections, or None when there is none."""
    for part in path:
        if isinstance(data, Mapping):
            data = data.get(part)
        elif isinstance(data, Section) and isinstance(part, str):
            data = getattr(data, part, None)
        else:
            return None
    return data


def _again(detail: Any) -> InitErrorDetails:
    """A reported error in the form in which it can be raised once more."""
    kind: Any = detail["type"]
    if kind not in _KNOWN_ERRORS:
        kind = PydanticCustomError(kind, "{message}", {"message": detail["msg"]})
    return InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"], ctx=detail.get("ctx", {}))


def _yes_or_no(value: object) -> object:
    """YAML 1.1's words for a boolean, which YAML 1.2 calls text."""
    words = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
    return words.get(value.lower(), value) if isinstance(value, str) else value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("expected a text, got an empty one")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("expected a text of one line, got one with control characters")
    return value


# Lua keeps 14 digits of a number.
Count = Annotated[int, Field(strict=True, ge=1, le=10**12)]
"""A whole number, at least 1."""
Money = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
"""US dollars."""
Flag = Annotated[bool, BeforeValidator(_yes_or_no), Field(strict=True)]
Text = Annotated[str, Field(strict=True, max_length=1000), AfterValidator(_text)]
"""A line of text that is not empty."""
