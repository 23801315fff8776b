"""The ledger of a run: what is known at its end, held against what chatq promises. Pure.

What is wrong is in `Ledger.findings`, with the jobs concerned; that there is nothing is what `chatq verify` is for.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from chatq_sandbox.verify.evidence import Evidence, Struck
from chatq_sandbox.verify.faults import FAULTS

_BROKEN: Final = frozenset({"connect_error", "timeout", "bad_answer", "answer_too_large"})
"""Errors after which nobody knows whether the provider had done its work: its answer did not come, or not whole."""
_TAKE_AWAY: Final = frozenset({"worker", "server"})
"""Whom a fault has to strike to explain that a call may have been paid for in vain."""
_SUSPICION_MS: Final = 10_000.0
"""So long after its end a fault can still be why a worker was thought dead."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `jobs`: ids, or names where there is no id."""

    what: str
    jobs: Sequence[str]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a kind of fault went. `judged`: how often it struck alone, so that it can be held against its bar;
    `longest_s`: of those, None when there is none."""

    name: str
    struck: int
    judged: int
    longest_s: float | None
    bar_s: float | None

    @property
    def met(self) -> bool:
        """Whether the bar was met, or there is none."""
        return self.bar_s is None or self.longest_s is None or self.longest_s <= self.bar_s


@dataclass(frozen=True, slots=True)
class Ledger:
    """The reckoning. Numbers of jobs, unless said otherwise.

    `unacknowledged`: in the server although no producer heard so: it died in the middle, or was refused half way.
    `paid_twice`: calls that a provider would have charged beyond one for each job; `in_flight_at_a_kill` of them are
    marked `maybe_charged`, `answer_broken` had their answer cut off or withheld by the provider.
    `refused_beyond`: 429s by the simulator's own limits, by connection. `calls`: all that the simulator saw.
    """

    jobs: int
    acknowledged: int
    unacknowledged: int
    states: Mapping[str, int]
    lost: int
    doubled: int
    changed_after_final: int
    announced_twice: int
    calls: int
    paid_twice: int
    in_flight_at_a_kill: int
    answer_broken: int
    paid_unexplained: int
    unlisted_calls: int
    refused_beyond: Mapping[str, int]
    recoveries: Sequence[Recovery]
    findings: Sequence[Finding]

    @property
    def holds(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


def reckon(evidence: Evidence) -> Ledger:
    """Make the ledger."""
    records = {record["id"]: record for record in evidence.records}
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for record in evidence.records:
        ids[_name(record)].append(record["id"])
    for job_id, (_, name) in evidence.unfinished.items():
        ids[name].append(job_id)

    lost = [name for name, id_ in evidence.acknowledged.items() if not _is_there(name, id_, ids, records)]
    doubled = [id_ for found in ids.values() if len(found) > 1 for id_ in found] + _listed_twice(evidence)
    changed = sorted({change.job_id for change in evidence.changes})
    announced_twice = [id_ for id_, times in evidence.announced.items() if times > 1]
    payments = {
        _name(record): _Payment.of(record, evidence.calls.get(_name(record), {}))
        for record in records.values()
    }
    unpaid_for = [name for name, payment in payments.items() if payment.unexplained]
    unlisted = [name for name, payment in payments.items() if payment.unlisted]
    unlisted += [name for name in evidence.calls if name not in ids]

    findings = [
        *_found("lost: acknowledged, and no final record", [_whereabouts(name, evidence) for name in lost]),
        *_found("doubled: two records of one job", doubled),
        *_found("changed after it was final", changed),
        *_found("announced as final more than once", announced_twice),
        *_found("paid more often than its record says", unpaid_for),
        *_found("called more often than its record says", unlisted),
        *_found("thought lost, and no fault had struck its worker", _lost_without_cause(evidence)),
        *_found("ended as it should not", _wrong_ends(evidence, records)),
        *_found("batch that tells other counts than its jobs have", _wrong_batches(evidence, records)),
        *_found("left over in the counts of what waits and runs", _left_over(evidence)),
        *_found("processes", evidence.complaints),
        *_found("tracebacks in workers' logs", evidence.tracebacks),
    ]
    return Ledger(
        jobs=len(evidence.ends),
        acknowledged=len(evidence.acknowledged),
        unacknowledged=sum(len(found) for name, found in ids.items() if name not in evidence.acknowledged),
        states=dict(Counter(record["state"] for record in records.values())),
        lost=len(lost),
        doubled=len(doubled),
        changed_after_final=len(changed),
        announced_twice=len(announced_twice),
        calls=sum(tally["received"] for tally in evidence.calls.values()),
        paid_twice=sum(payment.twice for payment in payments.values()),
        in_flight_at_a_kill=sum(payment.in_flight_at_a_kill for payment in payments.values()),
        answer_broken=sum(payment.answer_broken for payment in payments.values()),
        paid_unexplained=sum(payment.unexplained for payment in payments.values()),
        unlisted_calls=sum(payment.unlisted for payment in payments.values()),
        refused_beyond=_refused_beyond(evidence),
        recoveries=recoveries(evidence.records, evidence.struck),
        findings=findings,
    )


@dataclass(frozen=True, slots=True)
class _Payment:
    """What a job's calls cost beyond the one that gave its result, and why, by its record."""

    twice: int
    in_flight_at_a_kill: int
    answer_broken: int
    unexplained: int
    unlisted: int

    @classmethod
    def of(cls, record: Mapping[str, Any], tally: Mapping[str, Any]) -> _Payment:
        attempts = record["attempts"]
        charged = tally.get("charged", 0)
        in_vain = charged - (1 if record["state"] == "succeeded" else 0)
        maybe = sum(attempt["maybe_charged"] for attempt in attempts)
        broken = sum(attempt["error_code"] in _BROKEN for attempt in attempts)
        twice = max(0, charged - 1)
        in_flight = min(twice, maybe)
        return cls(
            twice=twice,
            in_flight_at_a_kill=in_flight,
            answer_broken=min(twice - in_flight, broken),
            unexplained=max(0, in_vain - maybe - broken),
            unlisted=max(0, tally.get("received", 0) - len(attempts)),
        )


def recoveries(records: Iterable[Mapping[str, Any]], struck: Sequence[Struck]) -> list[Recovery]:
    """How long each kind of fault was felt, in the order of the table."""
    records = list(records)
    finished = sorted(_ms(record["finished_at"]) for record in records)
    lost = [
        (_ms(attempt["started_at"]), _ms(attempt["ended_at"]))
        for record in records
        for attempt in record["attempts"]
        if attempt["error_code"] == "worker_lost"
    ]
    times: defaultdict[str, list[float]] = defaultdict(list)
    for fault in struck:
        if not _is_alone(fault, struck):
            continue
        next_ms = min((other.from_ms for other in struck if other.from_ms > fault.from_ms), default=math.inf)
        felt_ms = longest_stall_ms(finished, fault.over_ms, next_ms)
        match FAULTS[fault.name].measure:
            case "given back":
                back = [end for start, end in lost if start <= fault.from_ms < end < next_ms]
                felt_ms = max([felt_ms, *(end - fault.from_ms for end in back)])
            case "led":
                felt_ms = fault.over_ms - fault.from_ms
        times[fault.name].append(felt_ms / 1000)
    counts = Counter(fault.name for fault in struck)
    return [
        Recovery(name, counts[name], len(times[name]), max(times[name], default=None), FAULTS[name].bar_s)
        for name in FAULTS
        if counts[name]
    ]


def longest_stall_ms(finished: Sequence[float], from_ms: float, to_ms: float) -> float:
    """The longest time between two jobs' ends from `from_ms` to `to_ms`, the moment of the next fault.

    `finished`: sorted. What follows the last end is no stall: nothing was left to do.
    """
    longest, before = 0.0, from_ms
    for moment in finished[bisect_right(finished, from_ms) :]:
        longest = max(longest, min(moment, to_ms) - before)
        before = moment
        if moment >= to_ms:
            break
    return longest


def _is_alone(fault: Struck, struck: Sequence[Struck]) -> bool:
    return all(
        other is fault or other.from_ms > _until_ms(fault) or _until_ms(other) < fault.from_ms
        for other in struck
    )


def _until_ms(fault: Struck) -> float:
    return fault.over_ms + (FAULTS[fault.name].bar_s or 0.0) * 1000


def _is_there(
    name: str, id_: str | None, ids: Mapping[str, Sequence[str]], records: Mapping[str, Mapping[str, Any]]
) -> bool:
    if id_ is not None:
        return id_ in records and _name(records[id_]) == name
    return any(found in records for found in ids.get(name, ()))


def _whereabouts(name: str, evidence: Evidence) -> str:
    """What is known of a job that has no final record."""
    found = [f"{id_}: {state}" for id_, (state, other) in evidence.unfinished.items() if other == name]
    return f"{name} ({', '.join(found) or 'not in the server'})"


def _left_over(evidence: Evidence) -> list[str]:
    return [f"{evidence.left_over} jobs"] if evidence.left_over else []


def _listed_twice(evidence: Evidence) -> list[str]:
    return [id_ for batch in evidence.batches for id_, times in Counter(batch.listed).items() if times > 1]


def _lost_without_cause(evidence: Evidence) -> list[str]:
    """Jobs with an attempt that may have been paid in vain, during which nothing had struck a worker or the server."""
    blows = [
        (fault.from_ms, fault.over_ms + _SUSPICION_MS)
        for fault in evidence.struck
        if FAULTS[fault.name].target in _TAKE_AWAY
    ]
    return [
        record["id"]
        for record in evidence.records
        for attempt in record["attempts"]
        if attempt["error_code"] in {"worker_lost", "handed_back"}
        and not any(
            start <= _ms(attempt["ended_at"]) and _ms(attempt["started_at"]) <= end for start, end in blows
        )
    ]


def _wrong_ends(evidence: Evidence, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Acknowledged jobs that ended in a way that nothing in the plan explains."""
    return [
        f"{record['id']} ({_end(record)})"
        for record in records.values()
        if _name(record) in evidence.acknowledged
        and _end(record) not in evidence.ends[_name(record).partition(".")[0]]
    ]


def _wrong_batches(evidence: Evidence, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    wrong = []
    for batch in evidence.batches:
        states = Counter(record["state"] for record in records.values() if record.get("batch") == batch.id)
        told = {state: count for state, count in batch.counts.items() if count and state != "total"}
        if told != states or batch.counts["total"] != states.total() or len(batch.listed) != states.total():
            wrong.append(batch.id)
    return wrong


def _refused_beyond(evidence: Evidence) -> dict[str, int]:
    """429s that no misbehaviour sent, by connection: the simulator's own limits said no."""
    refused: Counter[str] = Counter()
    for name, tally in evidence.calls.items():
        refused[name.rpartition("-")[0]] += tally["refused"].get("rate_limited", 0)
    return {connection: count for connection, count in sorted(refused.items()) if count}


def _found(what: str, jobs: Sequence[str]) -> list[Finding]:
    return [Finding(what, jobs)] if jobs else []


def _name(record: Mapping[str, Any]) -> str:
    return str(record["metadata"].get("name", record["id"]))


def _end(record: Mapping[str, Any]) -> str:
    return f"failed:{record['error']['code']}" if record["state"] == "failed" else str(record["state"])


def _ms(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() * 1000
