"""What is measured, and the bars of issue 9."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import added_latency
import enqueueing
import footprint
import limits
import scale
from contenders import PEERS, Figures, Work, by_celery, by_chatq, by_peer, by_program

from chatq_worker.transport import VARIABLE

BARE, CHATQ, TWO = "bare loop", "chatq", "chatq, two processes"
Contenders = Mapping[str, Callable[[], Figures]]
Measured = dict[str, Any]
"""`contenders`: figures of each repetition by who; `not_measured`: why by who; `versions`: of what they are made of."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Case:
    """`measure(quick, repetitions, say)`: quick does little, and says nothing of any use.

    `figures`: those shown. `base`: the contender by whom the others are measured, if any. `long`: only when asked for.
    """

    title: str
    method: str
    measure: Callable[[bool, int, Say], Measured]
    figures: tuple[str, ...]
    base: str | None = BARE
    repetitions: int = 5
    long: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """`figure` of `who` by that of `base` in the same repetition, or itself where there is none, against the limit."""

    what: str
    case: str
    figure: str
    limit: float
    base: str | None = BARE
    who: str = CHATQ
    at_least: bool = False


def in_turns(contenders: Callable[[bool], Contenders]) -> Callable[[bool, int, Say], Measured]:
    """A measurement in which the contenders follow one another, and again. `contenders`: of little work, or of all."""

    def measure(quick: bool, repetitions: int, say: Say) -> Measured:
        figures: dict[str, list[Figures]] = {}
        not_measured: dict[str, str] = {}
        versions: dict[str, str] = {}
        for _ in range(repetitions):
            for who, run in contenders(quick).items():
                if who in not_measured:
                    continue
                try:
                    one = run()
                except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                    # The others, and the cases that follow, are worth an hour.
                    not_measured[who] = str(error) or type(error).__name__
                    say(f"{who}: {not_measured[who]}")
                    continue
                versions |= one.pop("versions", {})
                figures.setdefault(who, []).append(one)
                say(f"{who}: " + ", ".join(f"{name} {value:,.4g}" for name, value in one.items()))
        of = {who: each for who, each in figures.items() if who not in not_measured}
        return {"contenders": of, "not_measured": not_measured, "versions": versions}

    return measure


def bare(work: Work) -> Callable[[], Figures]:
    return partial(by_program, [sys.executable, PEERS / "bare_loop.py"], work)


def calls(full: Work) -> Callable[[bool, int, Say], Measured]:
    """The bare loop and chatq."""

    def contenders(quick: bool) -> Contenders:
        work = replace(full, jobs=100, at_once=50, latency_s=min(full.latency_s, 0.2)) if quick else full
        return {BARE: bare(work), CHATQ: partial(by_chatq, work)}

    return in_turns(contenders)


def backlog(latency_s: float, quick: bool) -> Contenders:
    work = Work(100, 50, latency_s) if quick else Work(10_000, 1000, latency_s)
    return {BARE: bare(work), CHATQ: partial(by_chatq, work), TWO: partial(by_chatq, work, workers=2)}


def transports(quick: bool) -> Contenders:
    work = Work(100, 50, 0.2) if quick else Work(3000, 1000, 0.2)
    return {
        CHATQ: partial(by_chatq, work),
        "chatq on stock kombu": partial(by_chatq, work, {VARIABLE: "stock"}),
    }


PROCESSES, THREADS, GEVENT = "Celery, 16 processes", "Celery, threads", "Celery, gevent"
CURATOR, OPENAI, ROUTER = "Bespoke Curator", "openai client", "LiteLLM Router"


def peers(quick: bool) -> Contenders:
    work = Work(60, 30, 0.2) if quick else Work(2000, 500, 0.2)
    return {
        BARE: bare(work),
        CHATQ: partial(by_chatq, work),
        CURATOR: partial(by_peer, "curator", "curator.py", work),
        "async-batch-llm": partial(by_peer, "async-batch-llm", "batch_llm.py", work),
        OPENAI: partial(by_peer, "sdks", "openai_client.py", work),
        ROUTER: partial(by_peer, "litellm", "litellm_router.py", work),
        "LiteLLM batch_completion": partial(by_peer, "litellm", "litellm_batch.py", work),
        GEVENT: partial(by_celery, "gevent", "pooled", work),
        THREADS: partial(by_celery, "threads", "pooled", work),
        PROCESSES: partial(by_celery, "prefork", "naive", replace(work, at_once=4 if quick else 16)),
    }


APPLY_ASYNC = "Celery apply_async"


def enqueueing_(quick: bool) -> Contenders:
    few, many = (Work(200, 1, 0), Work(1000, 1, 0)) if quick else (Work(4000, 1, 0), Work(50_000, 1, 0))
    return {
        APPLY_ASYNC: partial(enqueueing.by_celery, few),
        "chatq, a batch": partial(
            enqueueing.by_chatq, many, lambda queue, work: queue.enqueue_batch(work.prompts(), "sim")
        ),
        "chatq, one by one": partial(enqueueing.by_chatq, few, enqueueing.one_by_one),
    }


def latency(quick: bool) -> Contenders:
    work = Work(60 if quick else 1500, 100, 0.05)
    return {
        THREADS: partial(added_latency.by_celery, "threads", work, 100.0),
        GEVENT: partial(added_latency.by_celery, "gevent", work, 100.0),
        CHATQ: partial(added_latency.by_chatq, work, 100.0),
    }


def start(quick: bool) -> Contenders:
    return {THREADS: partial(footprint.start_of_celery, "threads"), CHATQ: footprint.start_of_chatq}


IMPORTS = "import redis, pydantic"


def imports(quick: bool) -> Contenders:
    return {
        IMPORTS: partial(footprint.imports, "redis, pydantic"),
        "import chatq": partial(footprint.imports, "chatq"),
        "chatq --help": footprint.help_of_chatq,
    }


def disk(quick: bool) -> Contenders:
    return {
        CHATQ: partial(footprint.disk, "chatq"),
        "celery[redis]": partial(footprint.disk, "celery[redis]", "celery"),
        "openai": partial(footprint.disk, "openai", "sdks"),
        "litellm": partial(footprint.disk, "litellm", "litellm"),
        "bespokelabs-curator": partial(footprint.disk, "bespokelabs-curator", "curator"),
    }


def of_limits(quick: bool) -> Contenders:
    def one(name: str) -> Figures:
        case = limits.CASES[name]
        figures = limits.measure(replace(case, jobs=30, at_most=10) if quick else case)
        return {"ratio": figures["time_to_least"], "refused": figures["refused_share"] * 100}

    names = ("requests-told-3-workers", "tokens-told-3-workers", "headers")
    return {name: partial(one, name) for name in names[: 1 if quick else None]}


def waiting(quick: bool, repetitions: int, say: Say) -> Measured:
    jobs = 4000 if quick else 1_000_000
    figures = scale.measure(jobs, repetitions)
    say(f"{figures['many_to_few']}")
    of = {
        name: [{"cpu_us": cost} for cost in figures["costs_us"][which]]
        for which, name in {"few": FEW, "many": MANY}.items()
    }
    return {"contenders": of, "not_measured": {}, "versions": {}}


FEW, MANY = "10,000 waiting", "1,000,000 waiting"
LOAD = ("cpu_us", "server_cpu_us", "per_s", "in_flight", "memory_mb")
CASES: dict[str, Case] = {
    "calls-200-ms": Case(
        "A backlog at a provider that takes 200 ms",
        "10,000 jobs that wait, 1,000 slots in all. Redis and the provider run on the same two cores.",
        in_turns(partial(backlog, 0.2)),
        LOAD,
    ),
    "calls-0-ms": Case(
        "A provider that answers at once",
        "10,000 jobs that wait, 1,000 slots in all; the provider's latency is 0.",
        in_turns(partial(backlog, 0.0)),
        LOAD,
    ),
    "calls-2-s": Case(
        "A provider that takes 2 s",
        "5,000 jobs that wait, 1,000 slots.",
        calls(Work(5000, 1000, 2.0)),
        LOAD,
        repetitions=3,
    ),
    "transport": Case(
        "With the transport that Celery has",
        "3,000 jobs that wait, 1,000 slots, 200 ms. *Stock kombu* is the setting `CHATQ_INTERNAL_TRANSPORT=stock`.",
        in_turns(transports),
        LOAD,
        base=CHATQ,
        repetitions=1,
    ),
    "peers": Case(
        "The same 2,000 jobs with others",
        "2,000 jobs, 500 at once, 200 ms. Without a queue: Curator, which keeps its answers in files, async-batch-llm,"
        " OpenAI's client behind a semaphore, LiteLLM's Router behind one, and its `batch_completion`. Celery with its"
        " results in Redis: 16 processes with `httpx.post` in each task, as one writes it first; 500 threads, and 500"
        " greenlets, with a `requests.Session` for all. Celery's jobs wait as chatq's do. celery-aio-pool is not here:"
        " it runs one coroutine at a time.",
        in_turns(peers),
        ("cpu_us", "server_cpu_us", "wall_s", "in_flight", "memory_mb"),
        repetitions=3,
    ),
    "prompt-500-B": Case(
        "Prompts of 0.5 kB", "2,000 jobs, 500 at once, 200 ms.", calls(Work(2000, 500, 0.2, 500)), LOAD
    ),
    "prompt-10-kB": Case(
        "Prompts of 10 kB", "2,000 jobs, 500 at once, 200 ms.", calls(Work(2000, 500, 0.2, 10_000)), LOAD
    ),
    "prompt-100-kB": Case(
        "Prompts of 100 kB", "2,000 jobs, 500 at once, 200 ms.", calls(Work(2000, 500, 0.2, 100_000)), LOAD
    ),
    "in-flight": Case(
        "5,000 in flight",
        "5,000 jobs of 15 s, 5,000 slots. Memory is the most that was resident; a call's is what it grew by.",
        calls(Work(5000, 5000, 15.0)),
        ("in_flight", "memory_mb", "memory_kb_a_job", "cpu_us"),
        repetitions=3,
    ),
    "enqueue": Case(
        "Enqueueing",
        "One caller, no worker: 4,000 tasks or jobs one by one, 50,000 as a batch. chatq's are on disk when the call"
        " returns; Celery's server writes nothing down, and it has no result backend.",
        in_turns(enqueueing_),
        ("per_s", "caller_cpu_us"),
        base=APPLY_ASYNC,
    ),
    "latency": Case(
        "Added latency at 100 jobs a second",
        "1,500 jobs, one each 10 ms, at a provider that takes 50 ms, which is taken off: from the caller's call until"
        " the caller knows the result, of all jobs but the first tenth. Celery's caller hears all results on one"
        " connection.",
        in_turns(latency),
        ("p50_ms", "p99_ms", "cpu_us"),
        base=THREADS,
    ),
    "start": Case(
        "From the start of a worker to its first call",
        "One job waits. Redis is there already.",
        in_turns(start),
        ("start_s",),
        base=THREADS,
        repetitions=7,
    ),
    "imports": Case(
        "Imports",
        "A fresh interpreter each; the shortest of five executions.",
        in_turns(imports),
        ("ms",),
        base=IMPORTS,
    ),
    "disk": Case(
        "What is on disk",
        "The files of a distribution and of all that it requires, without byte code. chatq is what a worker needs:"
        " without the extra `http`.",
        in_turns(disk),
        ("disk_mb", "packages"),
        base=None,
        repetitions=1,
    ),
    "limits": Case(
        "At a provider's limit",
        "Three workers and a provider with a limit, told in the settings or learned from its answers: the time by the"
        " least that the limit allows, and the share of calls refused. More cases: `python bench/limits.py`.",
        in_turns(of_limits),
        ("ratio", "refused"),
        base=None,
        repetitions=1,
    ),
    "waiting": Case(
        "A million waiting",
        "CPU of worker and Redis for a job, a thousand jobs in turns, beside 10,000 and beside 1,000,000 that wait."
        " More of it: `python bench/scale.py`.",
        waiting,
        ("cpu_us",),
        base=FEW,
        long=True,
    ),
}
BARS = [
    Bar("worker's CPU a job, 200 ms, 1,000 slots", "calls-200-ms", "cpu_us", 4.0),
    Bar("worker's CPU a job, 0 ms, backlog", "calls-0-ms", "cpu_us", 8.0),
    Bar(
        "jobs a second of two processes, 200 ms, 1,000 slots",
        "calls-200-ms",
        "per_s",
        0.4,
        who=TWO,
        at_least=True,
    ),
    Bar("jobs a second of one process, 200 ms, 1,000 slots", "calls-200-ms", "per_s", 0.4, at_least=True),
    Bar("jobs a second of two processes, 0 ms, backlog", "calls-0-ms", "per_s", 0.4, who=TWO, at_least=True),
    Bar("jobs a second of one process, 0 ms, backlog", "calls-0-ms", "per_s", 0.4, at_least=True),
    Bar("jobs a second of two processes, 200 ms", "calls-200-ms", "per_s", 1.8, CHATQ, TWO, at_least=True),
    Bar("CPU a job, 2,000 jobs", "peers", "cpu_us", 0.4, CURATOR),
    Bar("CPU a job, 2,000 jobs", "peers", "cpu_us", 0.25, OPENAI),
    Bar("CPU a job, 2,000 jobs", "peers", "cpu_us", 0.2, ROUTER),
    Bar("CPU a job, 2,000 jobs", "peers", "cpu_us", 0.02, PROCESSES),
    Bar("time for 2,000 jobs, 200 ms, 500 at once", "peers", "wall_s", 1.5),
    Bar("worker's start to its first call", "start", "start_s", 3.0, THREADS),
    Bar("a worker's environment on disk, MB", "disk", "disk_mb", 60.0, None),
    Bar("jobs enqueued a second", "enqueue", "per_s", 5.0, APPLY_ASYNC, "chatq, a batch", at_least=True),
    Bar("added latency at 100 jobs/s, p50", "latency", "p50_ms", 1.5, THREADS),
    Bar("added latency at 100 jobs/s, p99", "latency", "p99_ms", 1.5, THREADS),
    Bar("worker's memory with 5,000 in flight, MB", "in-flight", "memory_mb", 250.0, None),
    Bar("calls in flight of 5,000", "in-flight", "in_flight", 5000, None, at_least=True),
    Bar("CPU a job with 1,000,000 waiting", "waiting", "cpu_us", 1.1, FEW, MANY),
    Bar("import chatq", "imports", "ms", 1.5, IMPORTS, "import chatq"),
    Bar("chatq --help", "imports", "ms", 2.0, IMPORTS, "chatq --help"),
]
