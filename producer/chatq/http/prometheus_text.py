"""Prometheus' text format, written. Source: Prometheus, "Exposition formats", text-based format 0.0.4.

Why not by `prometheus_client`: docs/decisions/0016-metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram", "summary"]
Sample = tuple[str, Mapping[str, str], float]
"""What stands behind the metric's name (nothing, `_bucket`, `_sum` or `_count`), labels, value."""


class Family(NamedTuple):
    """One metric."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


def written(families: Iterable[Family]) -> bytes:
    """The families as text. One without samples is left out."""
    lines: list[str] = []
    for name, kind, about, samples in families:
        if samples:
            lines += (f"# HELP {name} {_escaped(about)}", f"# TYPE {name} {kind}")
            lines += [f"{name}{suffix}{_labels(labels)} {number(value)}" for suffix, labels, value in samples]
    return "\n".join([*lines, ""]).encode()


def number(value: float) -> str:
    """A value, or the bound of a bucket."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    told = ",".join([f'{name}="{_escaped(value, quoted=True)}"' for name, value in labels.items()])
    return "{" + told + "}"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quoted else text
