"""Prometheus' text format, written. Source: Prometheus, "Exposition formats", text-based format 0.0.4.

Why not by `prometheus_client`: docs/decisions/0017-metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Final, Literal, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram", "summary"]


class Sample(NamedTuple):
    """One value. `suffix`: what stands behind the metric's name: nothing, `_bucket`, `_sum` or `_count`. `labels`: as
    `label` writes them, with commas between."""

    suffix: str
    labels: str
    value: float


class Family(NamedTuple):
    """One metric."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


def label(name: str, value: str) -> str:
    """A label, written."""
    escaped = _escaped(value).replace('"', r"\"")
    return f'{name}="{escaped}"'


def written(families: Iterable[Family]) -> bytes:
    """The families as text. One without samples is left out."""
    lines: list[str] = []
    for name, kind, about, samples in families:
        if samples:
            lines += (f"# HELP {name} {_escaped(about)}", f"# TYPE {name} {kind}")
            lines += [
                f"{name}{suffix}{{{labels}}} {number(value)}" if labels else f"{name}{suffix} {number(value)}"
                for suffix, labels, value in samples
            ]
    return "\n".join([*lines, ""]).encode()


def number(value: float) -> str:
    """A value, or the bound of a bucket."""
    if value == inf:
        return "+Inf"
    whole = int(value)
    return str(whole) if whole == value else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
