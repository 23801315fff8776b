"""From a job's request to the chat that an adapter translates: post-processing, and the connection's parameters
under the job's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatq.contract.connection import Connection
from chatq_worker.prompts import Names, post_process
from chatq_worker.providers import Chat, merged_params


def prepare(
    request: Mapping[str, Any],
    connection: Connection,
    *,
    model: str,
    placeholder: str,
    fallback: bool = False,
) -> Chat:
    """The chat of a request that `Job.request` made. `placeholder`: text of the message that strict modes insert.

    `fallback`: the connection stands in for the job's own; the mode is then its own, whatever the job asked for.
    """
    names = _names(request.get("names") or {})
    mode = (
        connection.post_processing if fallback else request.get("post_processing", connection.post_processing)
    )
    return Chat(
        messages=post_process(
            request["messages"],
            mode,
            names=names,
            placeholder=placeholder,
        ),
        model=model,
        params=merged_params(connection.params, request.get("params", {})),
        tools=request.get("tools"),
        tool_choice=request.get("tool_choice"),
        response_format=request.get("response_format"),
        names=names,
        placeholder=placeholder,
        stream=request.get("stream", False),
    )


def _names(names: Mapping[str, Any]) -> Names:
    return Names(char=names.get("char", ""), user=names.get("user", ""), group=tuple(names.get("group", ())))
