"""What limits a connection, printed for a person."""

from __future__ import annotations

from chatq.cli.table import print_table
from chatq.contract.connection_limits import Allowance, ConnectionLimits, LaneLimits
from chatq.contract.dollars import dollars
from chatq.contract.record import rfc3339
from chatq.contract.spending import told_spending
from chatq.contract.why import KINDS, pause_remedy, reads


def print_limits(limits: ConnectionLimits) -> None:
    """Print each lane: its allowances as a table, and what else is known of it."""
    name = limits.connection
    if limits.paused is not None:
        print(f"{name} is paused since {rfc3339(limits.paused.since)}: {limits.paused.message}")
        print(f"  {pause_remedy(name, limits.paused)}")
    if limits.spending.goes_on_at is not None:
        print(
            f"{name} has used up its budget of the day; calls go on at {rfc3339(limits.spending.goes_on_at)}"
        )
    for lane in limits.lanes:
        print(f"{name}, {lane.model or 'all models'} (lane {lane.lane})")
        if lane.allowances:
            head = ("  ALLOWANCE", "SET", "LEARNED", "FOUND", "USED NOW", "NEXT MAY GO")
            print_table(head, [_row(allowance) for allowance in lane.allowances])
        else:
            print("  no limit is set or known: the workers' slots bound it")
        for line in _rest(lane):
            print(f"  {line}")
    today, in_all = told_spending(limits.spending)
    print(f"{name}: cost today {today}, in all {in_all}")
    if limits.spending.reserved_usd:
        print(f"  calls in flight have reserved {dollars(limits.spending.reserved_usd)}")
    if limits.spending.maybe_charged_usd:
        print(
            f"  calls whose answers were lost may have cost {dollars(limits.spending.maybe_charged_usd)} more"
        )


def _row(allowance: Allowance) -> tuple[str, ...]:
    used = "-"
    if allowance.used is not None and allowance.holds:
        used = f"{reads(allowance.used)} ({allowance.used / allowance.holds:.0%})"
    next_at = "" if allowance.next_at is None else rfc3339(allowance.next_at)
    numbers = (allowance.set, allowance.learned, allowance.found)
    return (
        f"  {KINDS[allowance.kind]}",
        *("-" if number is None else reads(number) for number in numbers),
        used,
        next_at,
    )


def _rest(lane: LaneLimits) -> list[str]:
    """What else is known of a lane, a line each."""
    bound = "no bound but the slots" if lane.concurrency is None else f"of {lane.concurrency:,}"
    lines = [f"in flight: {lane.in_flight:,} ({bound})"]
    for allowance in lane.allowances:
        if allowance.told_lower:
            lines.append(
                f"the provider tells fewer {KINDS[allowance.kind]} than config.yaml, which is kept to"
            )
        if allowance.kind == "requests_day" and allowance.free_at is not None:
            lines.append(f"the day turns at {rfc3339(allowance.free_at)}")
    if lane.cooling_until is not None:
        lines.append(f"cooling until {rfc3339(lane.cooling_until)}: the provider asked to wait")
    if lane.next_probe_at is not None:
        lines.append(f"failing: the next call that tries it goes at {rfc3339(lane.next_probe_at)}")
    elif lane.breaker == "half_open":
        lines.append("failing: it is being tried")
    if lane.ramp is not None:
        lines.append(f"calls set in again: {lane.ramp:,} may be in flight")
    if lane.bytes_per_token is not None:
        lines.append(
            f"learned: {lane.bytes_per_token:.1f} bytes of a prompt are a token; on average a prompt has "
            f"{lane.mean_prompt_tokens:,.0f} tokens, an answer {lane.mean_answer_tokens:,.0f}"
        )
    return lines
