"""Claude's models: what each generation takes, its sizes, and the pages of the list.

From: Models overview, Extended and Adaptive thinking, Migration guide; litellm's model map for what a generation
refuses.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs

_NAME = re.compile(r"claude-(?:([a-z]+)-(\d+)(?:-(\d{1,2}))?|(\d)-(\d)-([a-z]+))(?:-(\d{8}))?")
_LATEST = (99, 0)
_MOST_ROWS = 1000

DEFAULT_MODELS = (
    "claude-opus-5-5",
    "claude-sonnet-5",
    "claude-opus-4-8",
    "claude-opus-4-7",
    "claude-opus-4-6",
    "claude-sonnet-4-6",
    "claude-opus-4-5-20251101",
    "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5-20250929",
)


class Model(NamedTuple):
    """What is known of a model by its name; one whose name says nothing is taken to be like the latest."""

    line: str
    generation: tuple[int, int]
    dated: str

    @property
    def takes_sampling(self) -> bool:
        """temperature, top_p and top_k other than the defaults."""
        return self.generation < (4, 7)

    @property
    def takes_temperature_with_top_p(self) -> bool:
        return self.generation < (4, 1)

    @property
    def takes_prefill(self) -> bool:
        """A last turn of the assistant that the answer goes on with."""
        return self.generation < (4, 6)

    @property
    def takes_thinking_budget(self) -> bool:
        return self.generation < (4, 7)

    @property
    def takes_adaptive_thinking(self) -> bool:
        return self.generation >= (4, 6)

    @property
    def takes_system_turns(self) -> bool:
        """System messages in the middle of a conversation."""
        return self.generation >= (4, 8)

    @property
    def hides_thinking(self) -> bool:
        """Thinking comes back without its text unless `display` asks for it."""
        return self.generation >= (4, 7)

    @property
    def context_tokens(self) -> int:
        return 1_000_000 if self.generation >= (4, 6) else 200_000

    @property
    def output_tokens(self) -> int:
        return 128_000 if self.generation >= (4, 6) else 64_000


@lru_cache(maxsize=256)
def model_of(name: str) -> Model:
    """What the name says."""
    found = _NAME.fullmatch(name)
    if found is None:
        return Model(name, _LATEST, "")
    line, major, minor, old_major, old_minor, old_line, dated = found.groups()
    generation = (int(major or old_major), int(minor or old_minor or 0))
    return Model(line or old_line, generation, dated or "")


def resolved(name: str, models: tuple[str, ...]) -> str | None:
    """The model that a name or an alias (the name without its date) stands for; None when there is none."""
    if name in models:
        return name
    return next((model for model in models if re.fullmatch(rf"{re.escape(name)}-\d{{8}}", model)), None)


def row(name: str) -> dict[str, Any]:
    """A model as the list shows it."""
    model = model_of(name)
    day = model.dated or "20260901"
    number = ".".join(str(part) for part in model.generation if part)
    return {
        "type": "model",
        "id": name,
        "display_name": f"Claude {model.line.title()} {number}",
        "created_at": f"{day[:4]}-{day[4:6]}-{day[6:]}T00:00:00Z",
        "lifecycle": "active",
        "line": model.line,
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens,
        "deprecated_at": None,
        "retires_at": None,
    }


def page(query: str, models: tuple[str, ...]) -> dict[str, Any] | str:
    """A page of the list, or what is wrong with the query: `limit` 1 to 1000 (default 20), `after_id` or
    `before_id`."""
    asked = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    limit = asked.get("limit", "20")
    if not limit.isdecimal():
        return "limit: Input should be a valid integer, unable to parse string as an integer"
    if not 1 <= int(limit) <= _MOST_ROWS:
        bound = "greater than or equal to 1" if int(limit) < 1 else f"less than or equal to {_MOST_ROWS}"
        return f"limit: Input should be {bound}"
    found = list(models)
    for key in ("after_id", "before_id"):
        if key in asked and asked[key] not in models:
            return f"{key}: no such model"
    if "after_id" in asked:
        found = found[models.index(asked["after_id"]) + 1 :]
    elif "before_id" in asked:
        found = found[: models.index(asked["before_id"])]
    rows = [row(name) for name in found[: int(limit)]]
    return {
        "data": rows,
        "has_more": len(found) > int(limit),
        "first_id": rows[0]["id"] if rows else None,
        "last_id": rows[-1]["id"] if rows else None,
    }
