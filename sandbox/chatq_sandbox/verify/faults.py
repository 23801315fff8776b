"""Every fault that a run can have, by name: whom it strikes, for how long, and how soon all must be well again.

A fault is a generator: it does harm, yields the seconds until it wants to go on, and mends at its end what it broke.
So faults that strike different things can overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from chatq_sandbox.verify.installation import Installation

LEASE_S = 2.0
"""The lease of the workers: short, so that a run has many faults."""
GRACE_S = 1.0
"""For calls in flight when a worker is told to stop."""

Target = Literal["worker", "server", "provider", "producer"]
Measure = Literal["settling", "given back", "led"]
"""What has to be well again: jobs are settled; or the jobs that the worker held are back in line; or another worker
leads the clock."""

_DEAD_WORKER_S = LEASE_S + 2.0
_BACK_S = 5.0
_LEADER_S = 3.0
_CLAIM_S = 3.0 + 2.0
_MOMENT_S = 0.02
_START_S = 4.0
"""What processes take to start, about, on a busy machine."""
_SHORT_S = 0.8
"""A worker that is suspended for so long keeps its lease."""

Draw = float
"""From 0 to 1, from the plan: which worker it is, and the like."""


class Fault(NamedTuple):
    """One kind of fault. `lasts_s`: the least and the most. `bar_s`: how long after its end (a lost worker: after its
    beginning) `measure` may take; None: nothing is promised."""

    meaning: str
    target: Target
    lasts_s: tuple[float, float]
    bar_s: float | None
    measure: Measure
    strike: Callable[[Installation, Draw, float], Iterator[float]]


def _worker_killed(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    on.kill_worker(on.worker(draw))
    on.start_worker()
    yield 0.0


def _leader_killed(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    leader = on.leader() or on.worker(draw)
    on.kill_worker(leader)
    on.start_worker()
    while on.leader() in (None, leader):
        yield _MOMENT_S


def _every_worker_killed(on: Installation, _draw: Draw, _: float) -> Iterator[float]:
    workers = on.workers()
    for worker in workers:
        on.kill_worker(worker)
    for _worker in workers:
        on.start_worker()
    while not on.workers_ready():
        yield _MOMENT_S


def _worker_suspended(on: Installation, draw: Draw, lasts_s: float) -> Iterator[float]:
    worker = on.worker(draw)
    on.suspend(worker)
    yield lasts_s
    on.go_on(worker)


def _worker_stopped(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    on.tell_to_stop(on.worker(draw), signals=1)
    on.start_worker()
    yield GRACE_S


def _worker_hurried(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    worker = on.worker(draw)
    on.tell_to_stop(worker, signals=1)
    yield 0.1
    on.tell_to_stop(worker, signals=1)
    on.start_worker()


def _wrong_clock(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    worker = on.leader() or on.worker(draw)
    on.start_worker(clock_off_s=3600.0 if draw < 0.5 else -3600.0)
    on.tell_to_stop(worker, signals=1)
    yield GRACE_S


def _server_killed(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    on.kill_server()
    yield lasts_s
    on.start_server()


def _server_restarted(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    on.shut_server_down()
    yield lasts_s
    on.start_server()


def _server_suspended(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    on.suspend_server()
    yield lasts_s
    on.wake_server()


def _connections_cut(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    for _time in range(4):
        on.cut_connections()
        yield lasts_s / 4


def _messages_lost(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    # Suspended, so that there is something in its queue.
    worker = on.worker(draw)
    on.suspend(worker)
    yield _SHORT_S
    on.empty_queue(worker)
    on.go_on(worker)


def _messages_doubled(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    worker = on.worker(draw)
    on.suspend(worker)
    yield _SHORT_S
    on.double_queue(worker)
    on.go_on(worker)


def _memory_full(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    usual = on.configured("maxmemory")
    on.configure("maxmemory", "1")
    yield lasts_s
    on.configure("maxmemory", usual)


def _read_only(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    on.command("REPLICAOF", "127.0.0.1", "1")  # nobody is there: it keeps its data and refuses writes
    yield lasts_s
    on.command("REPLICAOF", "NO", "ONE")


def _replicas_missing(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
    on.configure("min-replicas-to-write", "1")
    yield lasts_s
    on.configure("min-replicas-to-write", "0")


def _producer_killed(on: Installation, draw: Draw, _: float) -> Iterator[float]:
    producer = on.producer(draw)
    acknowledged = on.acknowledged_bytes(producer)
    for _time in range(200):
        if on.acknowledged_bytes(producer) != acknowledged:
            break  # it enqueues one after the other now
        yield 0.005
    on.kill_producer(producer)
    on.start_producer(producer)


def _provider_misbehaves(**misbehaviour: object) -> Callable[[Installation, Draw, float], Iterator[float]]:
    def strike(on: Installation, _draw: Draw, lasts_s: float) -> Iterator[float]:
        on.provider_misbehaves({**misbehaviour, "for_s": lasts_s})
        yield lasts_s

    return strike


FAULTS: dict[str, Fault] = {
    "worker killed": Fault(
        "SIGKILL; another is started", "worker", (0, 0), _DEAD_WORKER_S, "given back", _worker_killed
    ),
    "leader killed": Fault(
        "SIGKILL of the worker that leads the clock",
        "worker",
        (_LEADER_S, _LEADER_S),
        _LEADER_S,
        "led",
        _leader_killed,
    ),
    # Its bar counts from when the new ones are there.
    "every worker killed": Fault(
        "SIGKILL of all at once, and new ones",
        "worker",
        (_START_S, _START_S),
        _DEAD_WORKER_S,
        "settling",
        _every_worker_killed,
    ),
    "worker suspended": Fault(
        "SIGSTOP for longer than its lease, then SIGCONT: a zombie",
        "worker",
        (LEASE_S + 1.5, LEASE_S + 3.0),
        _DEAD_WORKER_S,
        "given back",
        _worker_suspended,
    ),
    "worker stopped": Fault(
        "SIGTERM; another is started",
        "worker",
        (GRACE_S, GRACE_S),
        _DEAD_WORKER_S,
        "settling",
        _worker_stopped,
    ),
    "worker hurried": Fault(
        "SIGTERM twice: calls are broken off and handed back",
        "worker",
        (0.1, 0.1),
        _DEAD_WORKER_S,
        "settling",
        _worker_hurried,
    ),
    "clock wrong": Fault(
        "the leading worker makes way for one whose clock is an hour off",
        "worker",
        (GRACE_S, GRACE_S),
        _DEAD_WORKER_S,
        "settling",
        _wrong_clock,
    ),
    "server killed": Fault(
        "SIGKILL, and started again", "server", (0.0, 4.0), _BACK_S, "settling", _server_killed
    ),
    "server restarted": Fault(
        "shut down in order, and started again", "server", (0.0, 3.0), _BACK_S, "settling", _server_restarted
    ),
    "server suspended": Fault(
        "SIGSTOP, then SIGCONT: it does not answer",
        "server",
        (0.5, 4.0),
        _BACK_S,
        "settling",
        _server_suspended,
    ),
    "connections cut": Fault(
        "CLIENT KILL of every connection, four times",
        "server",
        (0.2, 2.0),
        _BACK_S,
        "settling",
        _connections_cut,
    ),
    "messages lost": Fault(
        "a worker's Celery queue is emptied",
        "server",
        (_SHORT_S, _SHORT_S),
        _CLAIM_S,
        "settling",
        _messages_lost,
    ),
    "messages doubled": Fault(
        "every message in a worker's Celery queue comes three times",
        "server",
        (_SHORT_S, _SHORT_S),
        _CLAIM_S,
        "settling",
        _messages_doubled,
    ),
    "memory full": Fault(
        "the server refuses writes that need memory (OOM)",
        "server",
        (1.0, 4.0),
        _BACK_S,
        "settling",
        _memory_full,
    ),
    "server read-only": Fault(
        "it refuses every write (READONLY), as after a failover",
        "server",
        (0.5, 4.0),
        _BACK_S,
        "settling",
        _read_only,
    ),
    "replicas missing": Fault(
        "it refuses every write (NOREPLICAS)", "server", (0.5, 4.0), _BACK_S, "settling", _replicas_missing
    ),
    "producer killed": Fault(
        "SIGKILL in the middle of enqueueing; another goes on for it",
        "producer",
        (0.0, 0.1),
        _BACK_S,
        "settling",
        _producer_killed,
    ),
    "provider limits all": Fault(
        "every call is refused with 429, Retry-After 1 s",
        "provider",
        (1.0, 3.0),
        None,
        "settling",
        _provider_misbehaves(name="rate_limit", value=1),
    ),
    "provider down": Fault(
        "every call gets a 503",
        "provider",
        (1.0, 3.0),
        None,
        "settling",
        _provider_misbehaves(name="server_error", value=503),
    ),
    "provider silent": Fault(
        "half of the calls are never answered",
        "provider",
        (0.5, 1.5),
        None,
        "settling",
        _provider_misbehaves(name="silence", share=0.5),
    ),
    "provider resets": Fault(
        "half of the calls have their connection reset",
        "provider",
        (0.5, 2.0),
        None,
        "settling",
        _provider_misbehaves(name="reset_before_answer", share=0.5),
    ),
    "provider garbles": Fault(
        "half of the answers are cut off in the middle",
        "provider",
        (0.5, 2.0),
        None,
        "settling",
        _provider_misbehaves(name="truncated_json", share=0.5),
    ),
}
