"""OpenAI's request for a chat completion, as a job.

Source: OpenAI API reference, "Create chat completion"; the public interface, sections Batch files and HTTP front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chatq.contract.errors import InvalidJob
from chatq.contract.job import Job
from chatq.contract.shown import shown

NAME_A_CONNECTION: Final = "Name a connection of config.yaml there."
_JOB_KEYS: Final = ("messages", "tools", "tool_choice", "response_format")
"""Of a request, what is a key of a job as well; the rest but `model` are its params."""
_NO_PARAMS: Final = frozenset({*_JOB_KEYS, "model"})


def chat_job(body: Mapping[str, Any], connection: str | None, keys: Mapping[str, Any]) -> Job:
    """The job of a request, with `keys` of a job beside it.

    `connection`: for a request that names none; then its `model` is any model of it, else it is `CONNECTION` or
    `CONNECTION/MODEL`. Raises `InvalidJob`.
    """
    named, model = _target(body.get("model"), connection)
    fields = {key: body[key] for key in _JOB_KEYS if body.get(key) is not None}
    params = {key: value for key, value in body.items() if key not in _NO_PARAMS}
    return Job.parse(
        {
            "connection": named,
            **({"model": model} if model else {}),
            **({"params": params} if params else {}),
            **fields,
            **keys,
        }
    )


def _target(model: object, connection: str | None) -> tuple[str, str | None]:
    """Connection and model of a request's `model`."""
    if model is None and connection is not None:
        return connection, None
    if not isinstance(model, str) or not model:
        raise InvalidJob(
            f"body.model: expected CONNECTION or CONNECTION/MODEL, got {shown(model)}.",
            remedy=NAME_A_CONNECTION,
        )
    named, _, rest = model.partition("/")
    if connection is None:
        return named, rest or None
    return connection, (rest or None) if named == connection else model
