"""How many prompts of 40 messages one core post-processes a second, for every mode.

    .venv/bin/python bench/post_processing.py [--seconds 2]

Prints a line a mode; exits 1 when a mode stays below the target. Counts the CPU time of this process, so that
neighbours on the machine do not count. The figure is that of the best of ten rounds.
"""

import argparse
import datetime
import os
import platform
import random
import sys
import time
from pathlib import Path
from typing import Any

from chatq_worker.prompts import MODES, Names, post_process

TARGET = 10_000
MESSAGES = 40
ROUNDS = 10
NAMES = Names(char="Alice", user="Bob", group=("Alice", "Carol"))


def text(rng: random.Random) -> str:
    """Some 50 to 600 characters, as in a chat."""
    return " ".join(f"{rng.getrandbits(32):08x}" for _ in range(rng.randint(6, 66)))


def prompt(rng: random.Random) -> list[dict[str, Any]]:
    """Two system messages, then a chat with what makes work: names, neighbours, images, calls, empty ones."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": text(rng)} for _ in range(2)]
    while len(messages) < MESSAGES - 3:
        number = len(messages)
        kind = rng.random()
        if kind < 0.10:
            function = {"name": "f", "arguments": '{"x":1}'}
            call = {"id": f"call_{number}", "type": "function", "function": function}
            messages += [
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": text(rng)},
            ]
        elif kind < 0.15:
            image = {"type": "image_url", "image_url": {"url": f"https://pictures.test/{number}.png"}}
            messages.append({"role": "user", "content": [{"type": "text", "text": text(rng)}, image]})
        elif kind < 0.20:
            messages.append({"role": "system", "content": text(rng)})
        elif kind < 0.22:
            messages.append({"role": "assistant", "content": ""})
        elif kind < 0.40:
            messages.append({"role": "assistant", "name": "Carol", "content": text(rng)})
        else:
            messages.append({"role": rng.choice(("user", "assistant")), "content": text(rng)})
    while len(messages) < MESSAGES:
        messages.append({"role": "user", "content": text(rng)})
    return messages


def prompts_a_second(prompts: list[list[dict[str, Any]]], mode: str, seconds: float) -> float:
    """The best of `ROUNDS` rounds that share `seconds` of CPU time."""
    best = 0.0
    for _ in range(ROUNDS):
        done = 0
        start = time.process_time()
        elapsed = 0.0
        while elapsed < seconds / ROUNDS:
            for messages in prompts:
                post_process(messages, mode, names=NAMES)
            done += len(prompts)
            elapsed = time.process_time() - start
        best = max(best, done / elapsed)
    return best


def processor() -> str:
    """The processor's name as Linux tells it, elsewhere as Python does."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(description="Post-processed prompts a second, for every mode.")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU seconds for each mode (default: 2)")
    seconds = parser.parse_args().seconds
    rng = random.Random(3)
    prompts = [prompt(rng) for _ in range(50)]
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, "
        f"{platform.python_implementation()} {platform.python_version()}; target {TARGET:,} prompts a second"
    )
    slow = 0
    for mode in MODES:
        figure = prompts_a_second(prompts, mode, seconds)
        slow += figure < TARGET
        verdict = "ok" if figure >= TARGET else "BELOW TARGET"
        print(f"{mode:<13}{figure:>8,.0f} prompts/s  {figure / TARGET:4.1f} x the target  {verdict}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
