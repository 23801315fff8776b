"""Templates, and words for numbers and moments. Everything that is not a template is escaped: prompts, answers,
labels and what providers say may hold anything."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from chatq.contract.dollars import cost, dollars
from chatq.contract.record import rfc3339
from chatq.contract.spending import told_today
from chatq.contract.why import reads
from chatq.http.page.static_files import address

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SHORT: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def page(template: str, status: int = 200, **facts: Any) -> HTMLResponse:
    """A template with these facts."""
    return HTMLResponse(_environment().get_template(template).render(facts), status)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("chatq.http.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "ago": ago,
        "count": count,
        "dollars": dollars,
        "today": told_today,
        "duration": duration,
        "limit": reads,
        "moment": rfc3339,
        "rate": rate,
        "short": short,
    }
    environment.globals |= {"address": address, "cost": cost}
    return environment


def duration(seconds: float) -> str:
    """About so long, in two units at most: `2 h 5 min`, `12 s`, `400 ms`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    left, parts = round(seconds), list[str]()
    for length_s, unit in _UNITS:
        number, left = divmod(left, length_s)
        if number or parts:
            parts.append(f"{number} {unit}" if number else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))


def ago(moment: datetime, now: datetime) -> str:
    """`12 s ago`, `in 3 min`."""
    seconds = (now - moment.astimezone(UTC)).total_seconds()
    if abs(seconds) < 1:
        return "now"
    whole = duration(float(round(abs(seconds))))
    return f"{whole} ago" if seconds > 0 else f"in {whole}"


def count(number: float) -> str:
    """With commas."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """Four characters or so: `950`, `12.3k`, `4M`."""
    for size, unit in _SHORT:
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return reads(number)


def rate(per_s: float) -> str:
    """Jobs in a time in which there are some."""
    if not per_s:
        return "0/min"
    for length_s, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if per_s * length_s >= 1 or length_s == 3600:
            return f"{per_s * length_s:,.1f}/{unit}".replace(".0/", "/")
    raise AssertionError
