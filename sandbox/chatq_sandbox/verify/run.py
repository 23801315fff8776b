"""One run: everything is started, the faults strike, the jobs end, and what is known is gathered."""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from chatq import ChatQueue
from chatq.processes import Children
from chatq_sandbox.process import SimulatorProcess
from chatq_sandbox.throwaway import Throwaway
from chatq_sandbox.verify.evidence import BatchSeen, Evidence, Struck
from chatq_sandbox.verify.faults import FAULTS
from chatq_sandbox.verify.installation import KEYS, SIMULATED, Installation, acknowledged_file
from chatq_sandbox.verify.plan import PRODUCERS, Plan
from chatq_sandbox.verify.witness import Witness

_LOOK_S: Final = 0.05
_A_MOMENT_S: Final = 0.1
_AFTERWARDS_S: Final = 1.0
"""For whoever would still change something."""
_NO_PROGRESS_S: Final = 45.0
"""After so long without a job's end at the end of the run, what is left is lost."""


def run(plan: Plan, place: Throwaway, children: Children, *, workers: int) -> Evidence:
    """Carry out the plan in a folder of its own."""
    simulated = {**SIMULATED, "seed": plan.seed}
    with SimulatorProcess(simulated) as simulator:
        installation = Installation(place, plan, children, simulator, workers=workers)
        try:
            with Witness(installation.url) as witness, ChatQueue(installation.config) as queue:
                installation.start()
                _say(
                    f"started; {len(plan.jobs)} jobs and {len(plan.faults)} faults in {plan.ends_s:.0f} s ..."
                )
                struck = _strike_all(plan, installation, witness)
                _until_all_final(installation, queue)
                seen = _gather(plan, installation, queue, simulator, witness)
        finally:
            installation.stop()
    return Evidence(
        **seen,
        struck=struck,
        complaints=installation.complaints,
        tracebacks=[fault for log in installation.logs() for fault in tracebacks(log)],
        changes=witness.changes,
        announced=dict(witness.announced),
    )


def _strike_all(plan: Plan, installation: Installation, witness: Witness) -> list[Struck]:
    """Let each fault strike at its moment, until the last is over and everything is enqueued."""
    struck: list[Struck] = []
    due: list[tuple[float, int]] = [(fault.at_s, number) for number, fault in enumerate(plan.faults)]
    under_way: dict[int, tuple[float, Iterator[float]]] = {}
    well_s = 0.0
    heapq.heapify(due)
    while due or installation.producing():
        now_s = time.time() - installation.started_at
        installation.look()
        if not due or due[0][0] > now_s:
            time.sleep(_LOOK_S if not due else min(_LOOK_S, due[0][0] - now_s))
            continue
        _, number = heapq.heappop(due)
        fault = plan.faults[number]
        if number not in under_way:
            # Nor is all well while those still start that take the place of killed ones.
            if not fault.on_top and (under_way or now_s < well_s or not installation.workers_ready()):
                heapq.heappush(due, (max(well_s, now_s + _LOOK_S), number))
                continue
            _say(f"{now_s:6.1f} s  {fault.name}")
            steps = FAULTS[fault.name].strike(installation, fault.draw, fault.lasts_s)
            under_way[number] = time.time() * 1000, steps
        from_ms, steps = under_way[number]
        try:
            wait_s = next(steps)
            heapq.heappush(due, (time.time() - installation.started_at + wait_s, number))
        except StopIteration:
            del under_way[number]
            struck.append(Struck(fault.name, from_ms, time.time() * 1000))
            well_s = time.time() - installation.started_at + (FAULTS[fault.name].bar_s or 0.0) + _A_MOMENT_S
            witness.look_again()
    return struck


def _until_all_final(installation: Installation, queue: ChatQueue) -> None:
    """Wait until nothing waits or runs; give up when nothing moves any more."""
    left, moved = None, time.monotonic()
    while True:
        overview = queue.overview()
        now = overview["waiting"], overview["running"]
        if now == (0, 0):
            return
        if now != left:
            left, moved = now, time.monotonic()
        elif time.monotonic() - moved > _NO_PROGRESS_S:
            _say(f"nothing moves any more: {now[0]} wait, {now[1]} run")
            return
        installation.look()
        time.sleep(0.2)


def _gather(
    plan: Plan, installation: Installation, queue: ChatQueue, simulator: SimulatorProcess, witness: Witness
) -> dict[str, Any]:
    """What stands in the server, and what the others noted."""
    time.sleep(_AFTERWARDS_S)
    witness.stop()
    overview = queue.overview()
    server = installation.client
    results = list(server.scan_iter(f"{KEYS.result('')}*", count=1000))
    texts = [str(text) for text in (server.get(key) for key in results) if text is not None]
    witness.see(texts)
    records = [json.loads(text) for text in texts]
    final = {record["id"] for record in records}
    acknowledged, batches = _acknowledged(installation.folder)
    return {
        "ends": {name: job.ends for name, job in plan.jobs.items()},
        "acknowledged": acknowledged,
        "records": records,
        "unfinished": _unfinished(queue, server, final),
        "calls": simulator.counts()["jobs"],
        "batches": [_batch(queue, batch) for batch in batches],
        "left_over": overview["waiting"] + overview["running"],
    }


def _unfinished(queue: ChatQueue, server: Any, final: set[str]) -> dict[str, tuple[str, str]]:
    unfinished: dict[str, tuple[str, str]] = {}
    for key in server.scan_iter(f"{KEYS.job('')}*", count=1000):
        job_id = key.removeprefix(KEYS.job(""))
        if job_id not in final:
            state, place = server.hmget(key, "state", "place")
            # Of one that ended, and whose record is gone, no name is left.
            unfinished[job_id] = state, job_id if place == "end" else _name(queue, job_id)
    return unfinished


def _name(queue: ChatQueue, job_id: str) -> str:
    return queue.get(job_id).metadata.get("name", job_id)


def _batch(queue: ChatQueue, batch_id: str) -> BatchSeen:
    listed = [record.id for record in queue.results(batch_id)]
    return BatchSeen(batch_id, listed, queue.batch(batch_id).counts.model_dump())


def _acknowledged(folder: Path) -> tuple[dict[str, str | None], list[str]]:
    """Names of the acknowledged jobs with their ids, and the batches."""
    names: dict[str, str | None] = {}
    batches = []
    for number in range(PRODUCERS):
        for line in acknowledged_file(folder / f"producer-{number}.json").read_text().splitlines():
            note: Mapping[str, Any] = json.loads(line)
            if "job" in note:
                names[note["job"]] = note["id"]
            elif "batch" in note:
                batches.append(note["batch"])
                names |= dict.fromkeys(note["jobs"])
    return names, batches


def tracebacks(log: Path) -> list[str]:
    """Where a worker's log has a traceback, or something that is no line of a log."""
    found = []
    for number, line in enumerate(log.read_text("utf-8", "replace").splitlines(), 1):
        if line.startswith("chatq worker: "):
            break  # it could not start, and says why
        # What Celery's signal handler writes past the logging.
        if not line or line.startswith("worker: "):
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            found.append(f"{log.name}:{number}: {line}")
            continue
        if "traceback" in entry:
            found.append(f"{log.name}:{number}: {entry['message']}: {entry['traceback'].splitlines()[-1]}")
    return found


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
