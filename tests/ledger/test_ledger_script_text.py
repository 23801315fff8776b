"""What a script gets of the parts that all share: what it uses, and no more."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

import pytest
import redis

from chatq.ledger.script_text import LOCALS, definitions, linked, source
from servers import RealServer

SCRIPTS = sorted(
    path.name.removesuffix(".lua") for path in (resources.files("chatq.ledger") / "scripts").iterdir()
)
FOLDER = resources.files("chatq.ledger")
FILES = sorted(
    path
    for folder in ("shared", "scripts")
    for path in (FOLDER / folder).iterdir()
    if path.name.endswith(".lua")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_can_be_loaded(script: str, valkey: RealServer) -> None:
    with valkey.client() as client:
        client.script_load(source(script))


def test_a_name_is_defined_once() -> None:
    names = [name for definition in definitions() for name in definition.names]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_else_has_the_name_of_a_definition(file: Traversable) -> None:
    code = re.sub(r"'(?:\\.|[^'\\])*'|--[^\n]*", "''", file.read_text("utf-8"))
    # Of a shared part, what begins a line is a definition.
    start = "^ +" if "shared" in str(file) else "^ *"
    lists = [
        *re.findall(start + r"local (?!function)([\w, ]+)", code, re.MULTILINE),
        *re.findall(start + r"local function (\w+)", code, re.MULTILINE),
        *re.findall(r"function[ \w.]*\(([\w, ]*)\)", code),
        *re.findall(r"\bfor ([\w, ]+?) (?:in|=) ", code),
        *re.findall(r"{\s*(\w+) =(?!=)", code),
        *re.findall(r"(?<=,)\s*([a-z]\w*) =(?!=)", code),
    ]
    here = {name.strip() for names in lists for name in names.split(",")}
    defined = {name for definition in definitions() for name in definition.names}
    assert not here & (defined - LOCALS)


def test_what_is_not_used_is_left_out() -> None:
    text = linked("return int(now)")
    assert "local function int(" in text
    assert "function S.read_clock(" in text
    assert "rfc3339" not in text
    assert "RULES" not in text


def test_what_is_used_by_what_is_used_is_there(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(linked("return json_moment('0')"), 1, "t") == b'"1970-01-01T00:00:00.000Z"'


def test_words_in_texts_and_fields_ask_for_nothing() -> None:
    assert linked("return {'pause', x.resume} -- cancel") == (
        "local S = {}\nreturn (function()\nreturn {'pause', x.resume} -- cancel\nend)()\n"
    )


def test_what_is_seldom_needed_is_defined_when_it_is_called(valkey_url: str) -> None:
    seldom = [definition.names[0] for definition in definitions() if definition.seldom]
    assert {"review", "wait_again"} < set(seldom)
    code = "local before = tostring(move_flows)\nreview('alpha/m')\nreturn {before, type(move_flows)}"
    text = linked(code.replace("move_flows", "S.move_flows"))
    assert text.index("S.define_the_rest()\n") < text.index("function S.move_flows(")
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(text, 1, "t") == [b"nil", b"function"]
