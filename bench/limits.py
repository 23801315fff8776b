"""How close real workers run to a provider's limit, and that they do not cross it.

    python bench/limits.py [CASE ...]

Prints JSON: for each case the time by the least that it can take, the refusals as the simulator counted them, and what
became of the jobs. The least time: what is more than the provider's full bucket has to come back first, then one call.
Exit code 1 when a bar of issue 5 is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench_installation import circumstances, installation

LATENCY_S = 0.5
MODEL = "gpt-4o-mini"
PROMPT_TOKENS = 50
ANSWER_TOKENS = 100
"""Of each call as the simulator counts it, with max_tokens at the door."""
A_CALL = PROMPT_TOKENS + ANSWER_TOKENS


@dataclass(frozen=True, slots=True)
class Case:
    """`limits`: the provider's, `stated`: what the connection says of them, `tells`: whether answers tell them.

    The bars: `at_most`, of the least time; `refused`, the largest share of refused calls, from `refused_from_s` on.
    """

    jobs: int
    limits: Mapping[str, Any]
    stated: Mapping[str, int] = field(default_factory=dict)
    tells: bool = True
    workers: int = 3
    at_most: float = 1.03
    refused: float = 0.0
    refused_from_s: float = 0.0

    def least_s(self) -> float:
        """Seconds that the jobs take at the very least."""
        least_s = 0.0
        for name, cost in (("requests_per_minute", 1), ("tokens_per_minute", A_CALL)):
            if name in self.limits:
                limit = self.limits[name]
                at_once = limit if self.limits.get("bucket") == "minute" else max(1.0, limit / 60)
                least_s = max(least_s, (self.jobs * cost - at_once) * 60 / limit)
        return least_s + LATENCY_S


REQUESTS, TOKENS = {"requests_per_minute": 600}, {"tokens_per_minute": 90_000}
CASES = {
    "requests-told-1-worker": Case(600, REQUESTS, REQUESTS, workers=1),
    "requests-told-3-workers": Case(600, REQUESTS, REQUESTS),
    "slow-told": Case(120, {"requests_per_minute": 60}, {"requests_per_minute": 60}),
    "tokens-told-1-worker": Case(600, TOKENS, TOKENS, workers=1),
    "tokens-told-3-workers": Case(600, TOKENS, TOKENS),
    "both-told": Case(600, REQUESTS | TOKENS, REQUESTS | TOKENS),
    "minute-bucket-told": Case(1200, {**REQUESTS, "bucket": "minute"}, REQUESTS, at_most=1.05),
    "headers": Case(600, REQUESTS | TOKENS, at_most=1.10, refused=0.005),
    "no-headers": Case(1800, REQUESTS, tells=False, at_most=1.20, refused=0.02, refused_from_s=60.0),
}


def measure(case: Case) -> dict[str, Any]:
    """Run the jobs of one case; the figures."""
    connection: dict[str, Any] = {
        "limits": case.stated,
        "params": {"max_tokens": ANSWER_TOKENS},
        "model": MODEL,
    }
    if case.tells:
        connection |= {"source": "openai", "url": "/openai/v1", "api_key": "env:BENCH_OPENAI_KEY"}
    else:
        connection |= {"source": "custom", "url": "/custom/v1"}
    limited = {"limits_by_model": {MODEL: {**case.limits, "headers": case.tells}}}
    provider = {
        "defaults": {"latency": LATENCY_S, "answers": {"tokens": ANSWER_TOKENS}},
        "sources": {
            "openai": {**limited, "models": [MODEL]},
            "custom": {**limited, "models": ["local-model", MODEL]},
        },
    }
    with installation(
        slots=100, workers=case.workers, connections={"limited": connection}, provider=provider
    ) as (queue, simulator, _processes):
        while queue.overview()["workers"] < case.workers:
            time.sleep(0.1)
        started_s = time.monotonic()
        prompts = (f"job:{number} ".ljust(PROMPT_TOKENS * 4, ".") for number in range(case.jobs))
        batch = queue.enqueue_batch(prompts, "limited")
        failed, early = 0, {"received": 0, "refused": 0}
        for record in queue.results(batch.id, follow=True):
            failed += record.result is None
            if time.monotonic() - started_s < case.refused_from_s:
                early = _calls(simulator.counts())
        ended_s = time.monotonic() - started_s
        calls = _calls(simulator.counts())
    late = {name: calls[name] - early[name] for name in calls}
    ratio, share = ended_s / case.least_s(), late["refused"] / max(1, late["received"])
    bars = {
        f"time at most {case.at_most:g} of the least": ratio <= case.at_most,
        f"refused at most {case.refused:g}": share <= case.refused,
        "no job failed": failed == 0,
    }
    return {
        "jobs": case.jobs,
        "workers": case.workers,
        "least_s": round(case.least_s(), 1),
        "ended_in_s": round(ended_s, 2),
        "time_to_least": round(ratio, 4),
        "calls": calls["received"],
        "refused_with_429": calls["refused"],
        "refused_share": round(share, 5),
        "refused_counted_from_s": case.refused_from_s,
        "failed": failed,
        "missed": [bar for bar, kept in bars.items() if not kept],
    }


def _calls(counts: Mapping[str, Any]) -> dict[str, int]:
    total = counts["total"]
    return {"received": total["received"], "refused": total["refused"].get("rate_limited", 0)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; default: all")
    names = parser.parse_args().cases or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}")
    missed = False
    for name in names:
        figures = measure(CASES[name])
        missed = missed or bool(figures["missed"])
        print(json.dumps({"case": name, **figures, **circumstances()}, indent=2), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
