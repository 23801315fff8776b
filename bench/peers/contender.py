"""How a contender is run: a program that does so many calls, in an environment of its own.

It gets ready (imports, clients, a few calls), says so, waits for a line, does its jobs, says how they went, and ends
with its standard input. What is between is measured from outside. Only the standard library is needed here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

WARM_UP = 50


@dataclass(frozen=True)
class Work:
    """`jobs` prompts of `prompt_bytes`, `at_once` of them at the same time, at the provider at `url` (ends in /v1)."""

    url: str
    jobs: int
    at_once: int
    prompt_bytes: int
    extra: Sequence[str] = ()

    def prompts(self) -> list[str]:
        return [f"job:{number} ".ljust(self.prompt_bytes, ".") for number in range(self.jobs)]

    def warm_up(self) -> Work:
        """A few jobs that the provider answers at once."""
        url = self.url.partition("/latency/")[0] + "/v1"
        return Work(url, min(WARM_UP, self.jobs), self.at_once, self.prompt_bytes, self.extra)


# What libraries print is not for who listens.
_said = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def say(**figures: Any) -> None:
    _said.write(json.dumps(figures) + "\n")


def work_stated() -> Work:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--prompt-bytes", type=int, default=500)
    stated, extra = parser.parse_known_args()
    return Work(stated.url, stated.jobs, stated.at_once, stated.prompt_bytes, extra)


def contend(run: Callable[[Work], int], *packages: str) -> None:
    """Run `run`, which does the work given and returns how many jobs have their answer; with these packages."""
    work = work_stated()
    run(work.warm_up())
    say(process=os.getpid(), versions={package: version(package) for package in packages})
    sys.stdin.readline()
    say(done=run(work))
    sys.stdin.read()


async def contend_async(run: Callable[[Work], Awaitable[int]], *packages: str) -> None:
    """As `contend`, in one loop."""
    work = work_stated()
    await run(work.warm_up())
    say(process=os.getpid(), versions={package: version(package) for package in packages})
    await asyncio.to_thread(sys.stdin.readline)
    say(done=await run(work))
    sys.stdin.read()
