"""A process whose wall clock was put off sees the wrong time everywhere, and its monotonic clock is right."""

from __future__ import annotations

import subprocess
import sys
import time

PROGRAM = """
import sys, types
import datetime, time
from chatq_sandbox.verify.wrong_clock import set_off

other = types.ModuleType("other")
other.time, other.datetime, other.time_ns = time.time, datetime.datetime, time.time_ns
sys.modules["other"] = other
before = time.monotonic()
set_off(float(sys.argv[1]))
now = datetime.datetime.now(datetime.UTC).timestamp()
print(time.time(), other.time(), other.datetime.now(datetime.UTC).timestamp(), now, other.time_ns() / 1e9)
assert time.monotonic() - before < 60
"""


def test_every_module_that_was_imported_sees_the_wrong_time() -> None:
    for seconds in (3600.0, -3600.0):
        before = time.time()
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(seconds)], capture_output=True, text=True, check=True
        )
        after = time.time()
        seen = [float(word) for word in run.stdout.split()]
        assert len(seen) == 5
        assert all(before <= moment - seconds <= after for moment in seen)
