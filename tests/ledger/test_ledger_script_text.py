"""What a script gets of the parts that all share: what it uses, and no more."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

import pytest
import redis

from chatq.ledger.script_text import LOCALS, definitions, linked, source
from for_each import for_each
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


@for_each("script", SCRIPTS)
def test_every_script_can_be_loaded(script: str, valkey: RealServer) -> None:
    with valkey.client() as client:
        client.script_load(source(script))


def test_a_name_is_defined_once() -> None:
    names = [name for definition in definitions() for name in definition.names]
    assert sorted(names) == sorted(set(names))


@for_each("file", FILES)
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
    assert "call('TIME')" in text
    assert "string.format('\"%04d" not in text
    assert ":rules" not in text


def test_what_is_used_by_what_is_used_is_there(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(linked("return json_moment('0')"), 1, "t") == b'"1970-01-01T00:00:00.000Z"'


def test_words_in_texts_and_fields_ask_for_nothing() -> None:
    assert linked("return {'pause', x.resume} -- cancel") == (
        "local S = {nil}\nreturn (function()\nreturn {'pause', x.resume} -- cancel\nend)()\n"
    )


def test_literals_stand_where_they_are_used(valkey_url: str) -> None:
    text = linked("return {CLAIM_MS, SEPARATOR, 'CLAIM_MS'}")
    assert text == "local S = {nil}\nreturn (function()\nreturn {3000, '\\31', 'CLAIM_MS'}\nend)()\n"
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(text, 1, "t") == [3000, b"\x1f", b"CLAIM_MS"]


def test_what_is_seldom_needed_is_defined_when_it_is_called(valkey_url: str) -> None:
    assert {"review", "wait_again"} < {each.names[0] for each in definitions() if each.seldom}
    text = linked("return give_back, place_in_line")
    defined = text.index("S[1] = function()\n")
    assert (
        text.index("'place', 'line'") < text.index("S[1]() return") < defined < text.index("'place', 'later'")
    )
    code = "local before = type(refuse)\nreview('alpha/m')\nreturn {before, type(refuse)}"
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(linked(code), 1, "t") == [b"function", b"function"]


def test_what_a_function_leaves_for_later_is_done_when_the_script_ends_also_after_an_error(
    valkey_url: str,
) -> None:
    assert "HINCRBY" not in linked("return int(now)")
    counted = "add_up('t:counted', 'ended', 2)\nadd_up('t:counted', 'ended', 3)\n"
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(linked(f"{counted}return call('HGET', 't:counted', 'ended')"), 1, "t") is None
        assert client.hgetall("t:counted") == {b"ended": b"5"}
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            client.eval(
                linked(f"{counted}call('SET', 't:text', '')\ncall('HINCRBY', 't:text', 'a', 1)"), 1, "t"
            )
        assert client.hgetall("t:counted") == {b"ended": b"10"}
