"""Holding a job against the settings: is there such a connection, and does the job fit it?"""

from __future__ import annotations

from dataclasses import dataclass, field

from chatq.contract.config_problems import nearest
from chatq.contract.connection import Connection
from chatq.contract.errors import InvalidJob, UnknownConnection
from chatq.contract.job import TOOLS_VARIANT, Job
from chatq.contract.settings import Settings


@dataclass(slots=True)  # not frozen: that doubles what it takes to make one, and a batch makes a million
class CheckedJob:
    """A job that its connection can take."""

    job: Job
    connection: Connection
    request: bytes = field(repr=False)
    """What the worker needs, JSON."""
    model: str
    """The model it asks for: its own, else its connection's, else empty."""


def check(job: Job, settings: Settings) -> CheckedJob:
    """Hold a job against the settings.

    Raises `UnknownConnection`, `InvalidJob` for what its post-processing mode cannot send, `JobTooLarge`.
    """
    connection = settings.connections.get(job.connection)
    if connection is None:
        raise unknown_connection(job.connection, settings)
    mode = job.post_processing or connection.post_processing
    if mode == "none" and not job.chat():
        raise InvalidJob(
            "The job has an empty list of messages, and post-processing mode none sends it as it is.",
            remedy="Give a message, or a post_processing mode that inserts the placeholder.",
        )
    if job.tools and mode in TOOLS_VARIANT:
        raise InvalidJob(
            f"The job offers tools, and post-processing mode {mode} takes tool calls out.",
            remedy=f"Use post_processing: {TOOLS_VARIANT[mode]}, or leave the tools out.",
        )
    request = job.request(max_bytes=int(settings.bounds.job_bytes))
    return CheckedJob(job, connection, request, job.model or connection.model or "")


def unknown_connection(name: str, settings: Settings) -> UnknownConnection:
    """No such connection; the nearest known one is named."""
    near = nearest(name, settings.connections)
    meant = f'; did you mean "{near}"?' if near else "."
    return UnknownConnection(
        f'There is no connection "{name}"{meant} Known: {", ".join(settings.connections) or "none"}.',
        remedy="Use one of these, or add it to config.yaml; workers take it up within seconds.",
    )
