"""What becomes of a log record on its way to stderr."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chatq.contract.redaction import remember, scrubbed, scrubbed_name
from for_each import for_each
from forked import run

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "docs" / "operations.md"
KEY = "cc1d9a40-of-the-canary-5b7f"
START = f"""
import logging, sys
from chatq import logs
from chatq.contract.redaction import remember
from chatq.logs import fields
remember([{KEY!r}])
logs.set_up(level=sys.argv[1], form=sys.argv[2], process="worker")
logger = logging.getLogger("chatq_worker.completion")
"""


def written(program: str, *, level: str = "info", form: str = "json") -> list[str]:
    """The lines that a program writes where no terminal is."""
    return run("-c", START + program, level, form).stderr.splitlines()


def logged(program: str, *, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(program, level=level)]


FAULT = """
try:
    {}["no such key"]
except KeyError:
    logging.getLogger("kombu.mixins").warning("the server is away", exc_info=True)
    logger.error("a fault", exc_info=True)
"""


@pytest.mark.parametrize(("level", "warning_has_it"), [("info", False), ("debug", True)])
def test_a_fault_has_a_traceback_and_a_warning_only_at_debug(level: str, warning_has_it: bool) -> None:
    warning, fault = logged(FAULT, level=level)
    assert (warning["message"], "traceback" in warning) == ("the server is away", warning_has_it)
    assert (fault["message"], "traceback" in fault) == ("a fault", True)


def test_a_line_is_one_json_object_with_its_fields_as_keys() -> None:
    [line] = logged(
        'logger.info("job %s", "succeeded", extra=fields(job="j-1", attempt=2, batch=None, model=""))'
    )
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "process": "worker",
        "logger": "chatq_worker.completion",
        "message": "job succeeded",
        "job": "j-1",
        "attempt": 2,
    }


def test_in_text_the_fields_stand_behind_the_message() -> None:
    [line] = written(
        'logger.info("job succeeded", extra=fields(job="j-1", attempt=2, batch=None))', form="text"
    )
    assert line[8:] == " INFO    worker: job succeeded job=j-1 attempt=2"


def test_left_to_itself_it_writes_text_to_a_terminal() -> None:
    leader, follower = pty.openpty()
    program = START + 'logger.info("job succeeded", extra=fields(job="j-1"))'
    subprocess.run([sys.executable, "-c", program, "info", "auto"], stderr=follower, check=True)
    os.close(follower)
    shown = os.read(leader, 1000).decode()
    os.close(leader)
    assert shown[8:].rstrip() == " INFO    worker: job succeeded job=j-1"


def test_left_to_itself_it_writes_json_where_no_terminal_is() -> None:
    [line] = written('logger.info("job succeeded")', form="auto")
    assert json.loads(line)["message"] == "job succeeded"


def test_what_is_below_the_level_is_not_written() -> None:
    lines = logged('logger.info("job succeeded"); logger.warning("the server is away")', level="warning")
    assert [line["message"] for line in lines] == ["the server is away"]


BREAKS = r"a\nb\rc\x85d\u2028e\u2029f\x1b[2Jg\x0bh"


@for_each("form", ["json", "text"])
@for_each("where", ["message", "field"])
def test_whatever_is_in_it_a_line_stays_one_line(form: str, where: str) -> None:
    program = f"""
hostile = "{BREAKS}\\n00:00:00 INFO    job succeeded job=forged"
logger.info(*(["%s", hostile] if {where == "message"} else ["x"]), extra=fields(model=hostile))
"""
    [line] = written(program, form=form)
    assert "\x1b" not in line


def test_a_field_with_breaks_is_in_json_what_it_was() -> None:
    [line] = logged(f'logger.info("x", extra=fields(model="{BREAKS}"))')
    assert line["model"] == "a\nb\rc\x85d\u2028e\u2029f\x1b[2Jg\x0bh"


def test_half_a_character_and_a_number_beyond_64_bits_are_written() -> None:
    [line] = logged(r'logger.info("x", extra=fields(model="\ud800", wait_ms=2**70))')
    assert (line["model"], line["wait_ms"]) == ("\ud800", 2**70)


def test_no_line_of_a_traceback_looks_like_one_of_the_log() -> None:
    program = """
try:
    raise ValueError("first\\n00:00:00 INFO    job succeeded job=forged")
except ValueError:
    logger.error("a fault", exc_info=True)
"""
    first, *below = written(program, form="text")
    assert first.endswith(" ERROR   worker: a fault")
    assert below
    assert all(line.startswith("    ") for line in below)


PLANTED = """
words = f"Incorrect API key: {KEY}"
logger.info("%s", words)
logger.info("x", extra=fields(model=KEY))
try:
    raise ValueError(words)
except ValueError:
    logger.error("a fault", exc_info=True)
import threading
thread = threading.Thread(target=lambda: {}[words])
thread.start(); thread.join()
import warnings
warnings.warn(words)
raise RuntimeError(words)
"""


@for_each("form", ["json", "text"])
@for_each("level", ["debug", "info"])
def test_a_key_that_this_process_has_read_is_nowhere(form: str, level: str) -> None:
    """Not in a message, a field, a traceback, a warning, and not in what ends a thread or the process."""
    said = "\n".join(written(f"KEY = {KEY!r}\n{PLANTED}", form=form, level=level))
    assert KEY not in said.replace(f"KEY = {KEY!r}", "")
    assert said.count("Incorrect API key: [secret]") >= 4
    assert "fault in chatq: RuntimeError" in said
    assert "fault in chatq: KeyError" in said


@for_each(
    ("words", "shown"),
    [
        ("Incorrect API key: sk-proj-4f9a1c2e77.", "Incorrect API key: [key]."),
        ("Incorrect API key: ab****99 it is", "Incorrect API key: [key] it is"),
        ("amqp://ann:pass/word@broker:5672//", "amqp://ann:pass/word@broker:5672//"),
        ("no answer from redis://ann:se:cret@host:6379/0", "no answer from redis://***@host:6379/0"),
        (
            "no answer from redis+socket://:secret@/run/redis.sock",
            "no answer from redis+socket://***@/run/redis.sock",
        ),
        ("key_missing: The connection's key is missing.", "key_missing: The connection's key is missing."),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_messages(words: str, shown: str) -> None:
    assert scrubbed(words) == shown


def test_a_name_may_look_like_a_key() -> None:
    assert scrubbed_name("key-2026-000001") == "key-2026-000001"
    assert scrubbed_name("sk-orders-0001") == "sk-orders-0001"


def test_a_secret_is_taken_out_also_of_what_was_said_before_it_was_read() -> None:
    assert scrubbed("a1b2c3-not-yet-known") == "a1b2c3-not-yet-known"
    remember(["a1b2c3-not-yet-known"])
    assert scrubbed("a1b2c3-not-yet-known") == "[secret]"
    assert scrubbed_name("a1b2c3-not-yet-known") == "[secret]"


def test_what_is_too_short_to_be_a_secret_is_a_word_like_others() -> None:
    remember(["chatq", ""])
    assert scrubbed("chatq is up") == "chatq is up"


def test_every_field_that_is_logged_is_documented() -> None:
    used = {
        keyword.arg
        for package in ("producer", "worker")
        for path in (ROOT / package).rglob("*.py")
        if "fields(" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("fields")
        for keyword in node.keywords
        if keyword.arg is not None
    }
    [section] = re.findall(r"^## Logs\n(.*?)^## ", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert "job" in used
    assert used <= documented
