"""A worker whose wall clock is off: `python -m chatq_sandbox.verify.wrong_clock SECONDS worker --config FILE`.

Only the wall clock: no machine's monotonic clock jumps. What the process has imported by the time it starts sees the
wrong time, by `time.time` and by `datetime.now`.
"""

from __future__ import annotations

import datetime
import importlib
import runpy
import sys
import time
from typing import Any, Final

_WORKER: Final = "chatq_worker"


def set_off(seconds: float) -> None:
    """Put the clock of this process off, for every module that is imported now or later."""
    time_before, time_ns_before, datetime_before = time.time, time.time_ns, datetime.datetime

    class WrongDatetime(datetime_before):  # type: ignore[valid-type, misc]
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime_before.now(tz) + datetime.timedelta(seconds=seconds)

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return datetime_before.utcnow() + datetime.timedelta(seconds=seconds)

    wrong: dict[int, Any] = {
        id(time_before): lambda: time_before() + seconds,
        id(time_ns_before): lambda: time_ns_before() + int(seconds * 1e9),
        id(datetime_before): WrongDatetime,
    }
    for module in list(sys.modules.values()):
        if module is not sys.modules[__name__]:
            for name, value in list(vars(module).items()):
                if id(value) in wrong:
                    setattr(module, name, wrong[id(value)])


def main() -> None:
    """Import the worker, put the clock off, become the worker."""
    importlib.import_module(f"{_WORKER}.main")
    set_off(float(sys.argv[1]))
    sys.argv = [_WORKER, *sys.argv[2:]]
    runpy.run_module(_WORKER, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
