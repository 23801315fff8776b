"""What becomes of a log record on its way to stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, sys
from chatq_worker import logs
logs.set_up(level=sys.argv[1], form="json")
try:
    {}["no such key"]
except KeyError:
    logging.getLogger("kombu.mixins").warning("the server is away", exc_info=True)
    logging.getLogger("chatq_worker").error("a fault", exc_info=True)
"""


def logged(level: str) -> list[dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, level], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(("level", "warning_has_it"), [("info", False), ("debug", True)])
def test_a_fault_has_a_traceback_and_a_warning_only_at_debug(level: str, warning_has_it: bool) -> None:
    warning, fault = logged(level)
    assert (warning["message"], "traceback" in warning) == ("the server is away", warning_has_it)
    assert (fault["message"], "traceback" in fault) == ("a fault", True)
