"""What waited and ran at connections in the last hour, a sample a minute, as `backlogs.lua` tells it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

MINUTES: Final = 60
"""For so long samples are kept."""


class BacklogSample(NamedTuple):
    """Jobs of a connection at one moment. `minutes_ago`: 0 to 59."""

    minutes_ago: int
    queued: int
    running: int


def read_backlogs(reply: Any, connections: Sequence[str]) -> Mapping[str, Sequence[BacklogSample]]:
    """The samples of each connection, the oldest first. Minutes in which no worker kept time have none."""
    now, *each = reply
    return {
        name: sorted(_samples(int(now), samples), reverse=True)
        for name, samples in zip(connections, each, strict=True)
    }


def _samples(now: int, samples: Sequence[bytes]) -> list[BacklogSample]:
    found = (map(int, sample.split()) for sample in samples)
    return [
        BacklogSample(now - minute, queued, running)
        for minute, queued, running in found
        if 0 <= now - minute < MINUTES
    ]
