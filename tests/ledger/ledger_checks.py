"""What must hold of everything that is stored, after every step: by itself, and against the model."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ledger_model import Model
from ledger_places import BEYOND_SLOTS, COUNTED, DAY_MS, suspicion

Stored = dict[str, Any]

ACCOUNTED = (
    "prompt_tokens", "answer_tokens", "cost", "uncosted", "held_tokens", "held_cost", "lost_tokens", "lost_cost",
)  # fmt: skip
"""Counters of connections and batches for their budgets."""
CONSTANT = {"seq", "fence", "server", "leader", "rules", "settings", "totals", "clock-offset"}
"""Keys that stay when nothing is left to do; beside them `connection:ID`, one for each that is configured."""
SINGLE = CONSTANT | {
    "lanes", "later", "dying", "workers", "batches", "room", "expiry", "ended", "hungry", "sweeps", "open-batches",
    "paused", "parked", "diverted", "stalled", "spent", "budgeted", "prices", "wanted-prices",
}  # fmt: skip
ENTRY = (
    "seq", "created", "moved", "due", "expires", "flow", "idem", "custom", "digest", "bytes", "cost", "size", "cap",
    "metadata", "trace",
)  # fmt: skip
"""The parts of a job's entry, which are followed by its request."""
FAMILIES = {
    "entry", "job", "result", "idem", "line", "flows", "lane", "claims", "held", "stop", "worker", "batch",
    "connection", "limits", "known", "deltas", "metrics", "backlog",
}  # fmt: skip


def family(stored: Stored, kind: str) -> Stored:
    """The keys `kind:NAME`, by name."""
    start = kind + ":"
    return {key.removeprefix(start): value for key, value in stored.items() if key.startswith(start)}


def jobs_of(stored: Stored) -> Stored:
    """What their entries and hashes say of the jobs, by id, and what their flows say."""
    entries, hashes = family(stored, "entry"), family(stored, "job")
    known = {
        id_: _entry(entries.get(id_, "")) | hashes.get(id_, {}) for id_ in entries.keys() | hashes.keys()
    }
    return {
        id_: {"state": "queued", "place": "later" if "due" in job else "line", **job, **_of_flow(job["flow"])}
        for id_, job in known.items()
    }


def _entry(text: str) -> dict[str, str]:
    return {name: part for name, part in zip(ENTRY, text.split("\x1e"), strict=False) if part}


def _of_flow(flow: str) -> dict[str, str]:
    _, connection, model, group, *_ = flow.split("\x1f")
    kind, _, name = group.partition(":")
    return {"connection": connection, "model": model} | ({kind: name} if name else {})


def batches(stored: Stored) -> Stored:
    """The batches' hashes, without their lists."""
    return {name: value for name, value in family(stored, "batch").items() if ":" not in name}


def leftovers(stored: Stored) -> set[str]:
    """Keys that should not be there when everything has ended and was purged. Limits, prices and backlogs end by
    themselves."""
    kept = CONSTANT | {"prices", "wanted-prices"}
    return {
        key
        for key in stored
        if key not in kept
        and not key.startswith(("connection:", "limits:", "known:", "metrics:", "backlog:"))
    }


def check_consistent(stored: Stored) -> None:
    """The invariants that need no model; they hold between the parts of a tick as well."""
    jobs = jobs_of(stored)
    assert {key.partition(":")[0] for key in stored} <= SINGLE | FAMILIES
    _check_places(stored, jobs)
    _check_lanes(stored, jobs)
    _check_counts(stored, jobs)
    rooms = stored.get("room", {}) | stored.get("stalled", {})
    assert len(rooms) == len(stored.get("room", {})) + len(stored.get("stalled", {}))
    for worker, room in rooms.items():
        taken = sum(job.get("worker") == worker for job in jobs.values())
        assert room == int(stored[f"worker:{worker}"]["slots"]) - taken, f"room of {worker}"
    for name, worker_hash in family(stored, "worker").items():
        theirs = [
            job for job in jobs.values() if job.get("worker") == name and job["place"] in {"claim", "held"}
        ]
        expected = sum(suspicion(int(job.get("losses", 0))) for job in theirs)
        assert int(worker_hash.get("suspects", 0)) == expected, f"suspects of {name}"
    beyond = sum(max(0, -room) for room in rooms.values())
    assert beyond <= sum(
        min(BEYOND_SLOTS, int(lane.get("inflight", 0))) for lane in family(stored, "lane").values()
    )
    assert set(stored.get("batches", {})) == set(batches(stored))
    _check_reserved(stored, jobs)
    for name, batch in batches(stored).items():
        if batch["sealed"] == "0":
            assert name in stored["open-batches"], f"nobody will seal {name}"
        if "ended" in batch:
            assert f"batch:{name}" in stored["ended"], f"nobody will purge {name}"


def _check_places(stored: Stored, jobs: Stored) -> None:
    """Each job is in the one place that its hash names."""
    found: list[tuple[str, str]] = [(id_, "later") for id_ in stored.get("later", {})]
    for kind, place in (("line", "line"), ("claims", "claim"), ("held", "held")):
        for name, ids in family(stored, kind).items():
            found += [(id_, place) for id_ in ids]
            for id_ in ids:
                owner = jobs[id_]["flow"] if kind == "line" else jobs[id_]["worker"]
                assert owner == name, f"{id_} of {owner} is at {name}"
    found += [(id_, "end") for id_ in family(stored, "result")]
    runnable = {id_ for id_, job in jobs.items() if job["place"] != "end" or job["state"] == "failed"}
    assert set(family(stored, "entry")) == runnable
    named = [(id_, job["place"]) for id_, job in jobs.items()]
    assert Counter(found) == Counter(named)


def _check_lanes(stored: Stored, jobs: Stored) -> None:
    """A lane that has work is asked; one that has none is gone, or will be looked at."""
    flows, asked = family(stored, "flows"), stored.get("lanes", {})
    inflight = Counter(job["lane"] for job in jobs.values() if job["place"] in {"claim", "held"})
    assert set(flows) <= set(asked), "nobody asks these lanes"
    assert set(stored.get("hungry", {})) <= set(flows)
    for name, lane in family(stored, "lane").items():
        assert int(lane.get("inflight", 0)) == inflight.pop(name, 0), f"in flight of {name}"
        assert int(lane.get("inflight", 0)) or name in asked, f"{name} will never be deleted"
    assert not inflight, "lanes in use that are not there"
    served = [*stored.get("parked", ()), *(flow for tags in flows.values() for flow in tags)]
    assert set(stored.get("diverted", {})) <= set(served), "diverted flows that nobody serves"
    waiting = [flow for flow in family(stored, "line") if not _of_cancelled_batch(stored, flow)]
    assert sorted(served) == sorted(waiting)


def _of_cancelled_batch(stored: Stored, flow: str) -> bool:
    kind, _, name = flow.split("\x1f")[3].partition(":")
    return kind == "batch" and stored[f"batch:{name}"].get("cancel") == "1"


def _check_counts(stored: Stored, jobs: Stored) -> None:
    """Counters say what the jobs say; `retrying` counts as queued."""
    waiting = [job for job in jobs.values() if job["place"] != "end"]
    totals = stored.get("totals", {})
    assert int(totals.get("jobs", 0)) == len(waiting)
    assert int(totals.get("bytes", 0)) == sum(int(job["bytes"]) for job in waiting)
    for name, counts in family(stored, "connection").items():
        for state in ("queued", "running"):
            assert int(counts.get(state, 0)) == _count(waiting, "connection", name, state), (
                f"{state} of {name}"
            )
    for name, batch in batches(stored).items():
        assert sum(int(batch[state]) for state in COUNTED) == int(batch["total"]), f"total of {name}"
        for state in ("queued", "running"):
            assert int(batch[state]) == _count(waiting, "batch", name, state), f"{state} of {name}"


def _check_reserved(stored: Stored, jobs: Stored) -> None:
    """What is reserved of budgets is what jobs in flight hold, and none that has a budget is passed over."""
    held: Counter[tuple[str, str, str]] = Counter()
    for job in jobs.values():
        if "charge" in job:
            assert job["place"] in {"claim", "held"}
            amounts = zip(("held_tokens", "held_cost"), map(int, job["charge"].split(":")), strict=True)
            for name, amount in amounts:
                held["connection", job.get("via") or job["connection"], name] += amount
                held["batch", job.get("batch", ""), name] += amount
    for kind, found in (("connection", family(stored, "connection")), ("batch", batches(stored))):
        for owner, counters in found.items():
            for name in ("held_tokens", "held_cost"):
                assert int(counters.get(name, 0)) == held[kind, owner, name], f"{name} of {kind} {owner}"
    going_on = {
        name
        for name, batch in batches(stored).items()
        if {"max_cost", "max_tokens"} & set(batch) and "ended" not in batch
    }
    assert stored.get("budgeted", set()) == going_on


def _count(jobs: list[dict[str, str]], name: str, value: str, state: str) -> int:
    return sum(job.get(name) == value and job["state"].replace("retrying", "queued") == state for job in jobs)


def check_against(model: Model, stored: Stored) -> None:
    """Everything stored is what the model says."""
    expected, found = _expected(model), _found(model, stored)
    for part, value in expected.items():
        assert found[part] == value, part
    expiry = set(stored.get("expiry", {}))
    pending = {
        job.id: job.expires for job in model.at("line", "later", "claim", "held") if job.expires is not None
    }
    overdue = {job.id for job in model.at("held") if job.expires is not None and job.expires <= model.now}
    assert set(pending) - overdue <= expiry <= set(pending)


def _expected(model: Model) -> dict[str, Any]:
    alive = model.at("line", "later", "claim", "held")
    return {
        "jobs": {job.id: (job.state, job.place, job.batch) for job in model.jobs.values()},
        "deltas": {job.id: job.told for job in model.jobs.values() if job.told},
        "facts": {job.id: (job.counted, job.losses, job.cancel) for job in alive},
        "goals": {job.id: (job.connection, job.model, job.flow) for job in alive},
        "holders": {job.id: (job.worker, job.token, job.lane) for job in model.at("claim", "held")},
        "order": {job.id: float(job.number) for job in model.at("line")},
        "due": {job.id: float(job.due) for job in model.at("later", "claim")},
        "stop": {job.id for job in model.at("held") if job.cancel},
        "room": {worker: float(model.room(worker)) for worker in model.slots.keys() - model.stalled},
        "stalled": {worker: float(model.room(worker)) for worker in model.stalled},
        "closed": model.closed,
        "window": model.window,
        "workers": {worker: float(end) for worker, end in model.leases.items()},
        "lanes": {name: facts for name, lane in model.lanes.items() if any(facts := _lane(model, vars(lane)))},
        "limits": {
            name: full
            for name, limits in model.limits.items()
            if (full := {kind: at for kind, at in limits.full.items() if at})
        },
        "paused": {name for name, connection in model.connections.items() if connection.paused},
        "parked": model.parked,
        "diverted": model.diverted,
        "flows": {name: lane.tags for name, lane in model.lanes.items() if lane.tags},
        "asked": model.asked,
        "hungry": model.hungry,
        "ended": model.ended,
        "connections": {name: count for name, count in model.counts.items() if count},
        "batches": {
            name: (
                "1" if batch.sealed else "0", batch.cancelled, batch.ended, batch.paused, batch.moving, batch.moves,
                {state: batch.counts[state] for state in COUNTED}, batch.jobs, batch.order,
            )
            for name, batch in model.batches.items()
        },
        "budgets": {
            name: (batch.max_cost, batch.max_tokens, batch.used_up) for name, batch in model.batches.items()
        },
        "accounts": {owner: found for owner, account in model.accounts.items() if (found := account.counters())},
        "today": {
            name: spent
            for (kind, name), account in model.accounts.items()
            if kind == "connection" and (spent := account.days.get(model.now // DAY_MS, 0))
        },
        "charges": {job.id: f"{job.charge.tokens}:{job.charge.cost}" for job in alive if job.charge is not None},
        "spent": {name: float(until) for name, until in model.spent.items()},
        "open": {name: batch.touched for name, batch in model.batches.items() if not batch.sealed},
        "sweeps": {name for name, batch in model.batches.items() if batch.sweeping},
        "backlog": len(alive),
    }  # fmt: skip


def _found(model: Model, stored: Stored) -> dict[str, Any]:
    jobs = jobs_of(stored)
    return {
        "jobs": {id_: (job["state"], job["place"], job.get("batch", "")) for id_, job in jobs.items()},
        "deltas": {id_: len(deltas) for id_, deltas in family(stored, "deltas").items()},
        "facts": {
            id_: (int(job.get("counted", 0)), int(job.get("losses", 0)), "cancel" in job)
            for id_, job in jobs.items()
            if job["place"] != "end"
        },
        "goals": {
            id_: (job["connection"], job["model"], job["flow"]) for id_, job in jobs.items() if job["place"] != "end"
        },
        "holders": {
            id_: (job["worker"], job["token"], job["lane"])
            for id_, job in jobs.items()
            if job["place"] in {"claim", "held"}
        },
        "order": _merged(family(stored, "line")),
        "due": _merged(family(stored, "claims")) | stored.get("later", {}),
        "stop": set().union(*family(stored, "stop").values()),
        "room": stored.get("room", {}),
        "stalled": stored.get("stalled", {}),
        "closed": {name: int(of["closed"]) for name, of in family(stored, "worker").items() if "closed" in of},
        "window": {name: int(of["window"]) for name, of in family(stored, "worker").items() if "window" in of},
        "workers": stored.get("workers", {}),
        "lanes": {name: facts for name, lane in family(stored, "lane").items() if any(facts := _lane(model, lane))},
        "limits": {
            name: full
            for name, limits in family(stored, "limits").items()
            if (
                full := {
                    key.removesuffix(".full"): float(at)
                    for key, at in limits.items()
                    if key.endswith(".full") and float(at)
                }
            )
        },
        "paused": set(stored.get("paused", {})),
        "parked": stored.get("parked", set()),
        "diverted": stored.get("diverted", {}),
        "flows": family(stored, "flows"),
        "asked": stored.get("lanes", {}),
        "hungry": stored.get("hungry", {}),
        "ended": stored.get("ended", {}),
        "connections": {
            (name, state): int(count)
            for name, counts in family(stored, "connection").items()
            for state, count in counts.items()
            if state in COUNTED and int(count)
        },
        "batches": {
            name: (
                batch["sealed"], "cancel" in batch, int(batch["ended"]) if "ended" in batch else None,
                int(batch["paused"]) if "paused" in batch else None, "moving" in batch, int(batch.get("moves", 0)),
                {state: int(batch[state]) for state in COUNTED},
                stored.get(f"batch:{name}:jobs", []), stored.get(f"batch:{name}:ended", []),
            )
            for name, batch in batches(stored).items()
        },
        "budgets": {
            name: (
                int(batch["max_cost"]) if "max_cost" in batch else None,
                int(batch["max_tokens"]) if "max_tokens" in batch else None,
                (batch["used_up"], int(batch["needs"])) if "used_up" in batch else None,
            )
            for name, batch in batches(stored).items()
        },
        "accounts": {
            (kind, name): counters
            for kind, found in (("connection", family(stored, "connection")), ("batch", batches(stored)))
            for name, facts in found.items()
            if (counters := {key: int(facts[key]) for key in ACCOUNTED if int(facts.get(key, 0))})
        },
        "today": {
            name: int(facts["day_cost"])
            for name, facts in family(stored, "connection").items()
            if int(facts.get("day_cost", 0)) and int(facts["day"]) == model.now // DAY_MS
        },
        "charges": {id_: job["charge"] for id_, job in jobs.items() if "charge" in job},
        "spent": stored.get("spent", {}),
        "open": stored.get("open-batches", {}),
        "sweeps": set(stored.get("sweeps", {})),
        "backlog": int(stored.get("totals", {}).get("jobs", 0)),
    }  # fmt: skip


def _merged(sets: Stored) -> dict[str, float]:
    return {id_: score for members in sets.values() for id_, score in members.items()}


def _lane(model: Model, lane: dict[str, Any]) -> tuple[int, ...]:
    """What is kept of a lane. A cool-down that is over is as good as none."""
    names = (
        "clock",
        "inflight",
        "oks",
        "fails",
        "failed",
        "opened",
        "tries",
        "window",
        "probes",
        "ramp",
        "out",
        "cool",
    )
    *facts, cool = (int(lane.get(name) or 0) for name in names)
    return (*facts, cool if cool > model.now else 0)
