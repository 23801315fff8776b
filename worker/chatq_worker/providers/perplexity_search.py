"""How the search parameters of Perplexity's older shape, and OpenAI's, ask the Agent API for a search.

Source: Perplexity, Migrate from Sonar; SDK type ToolWebSearchTool.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chatq_worker.providers.parameters import Parameters

FILTERS: Final = (
    "search_domain_filter",
    "search_recency_filter",
    "search_after_date_filter",
    "search_before_date_filter",
    "last_updated_after_filter",
    "last_updated_before_filter",
)

_PLACE: Final = frozenset({"city", "country", "latitude", "longitude", "region"})


def search_tool(params: Parameters, *, has_tool: bool) -> dict[str, Any] | None:
    """The web_search tool that the parameters ask for, or None; they are taken. `has_tool`: the job offers one."""
    options = params.take("web_search_options")
    filters = {name: params.take(name) for name in FILTERS if name in params}
    disabled = params.take("disable_search")
    asked = ["web_search_options"] if isinstance(options, Mapping) else []
    asked += filters
    if not asked:
        return None
    if disabled is True or has_tool:
        why = "search is disabled" if disabled is True else "the job's tools have a web_search of their own"
        for name in asked:
            params.warn(name, why)
        return None
    tool: dict[str, Any] = {"type": "web_search"}
    if isinstance(options, Mapping):
        if options.get("search_context_size") is not None:
            tool["search_context_size"] = options["search_context_size"]
        place = _place(options.get("user_location"))
        if place:
            tool["user_location"] = place
    if filters:
        tool["filters"] = filters
    return tool


def _place(location: Any) -> dict[str, Any]:
    """Where the user is: flat as Perplexity writes it, or inside `approximate` as OpenAI does."""
    if not isinstance(location, Mapping):
        return {}
    inner = location.get("approximate")
    location = inner if isinstance(inner, Mapping) else location
    return {name: value for name, value in location.items() if name in _PLACE and value is not None}
