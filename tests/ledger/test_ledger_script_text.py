"""What a script gets of the parts that all share: what it uses, and no more."""

from __future__ import annotations

import re
from importlib import resources

import pytest
import redis

from chatq.ledger.script_text import definitions, linked, source
from servers import RealServer

SCRIPTS = sorted(
    path.name.removesuffix(".lua") for path in (resources.files("chatq.ledger") / "scripts").iterdir()
)
MOST_NAMES = 180
"""Lua 5.1 allows 200 at a time; two changes that are fine by themselves can be too many."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_can_be_loaded(script: str, valkey: RealServer) -> None:
    with valkey.client() as client:
        client.script_load(source(script))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_leaves_names_for_more(script: str) -> None:
    names = re.findall(r"^local (?:function )?([\w, ]+?)(?: =|\(|$)", source(script), re.MULTILINE)
    assert sum(len(part.split(",")) for part in names) <= MOST_NAMES


def test_a_name_is_defined_once() -> None:
    names = [name for definition in definitions() for name in definition.names]
    assert sorted(names) == sorted(set(names))


def test_what_is_not_used_is_left_out() -> None:
    text = linked("return int(now)")
    assert "local function int(" in text
    assert "local function clock(" in text
    assert "local function rfc3339(" not in text
    assert "RULES" not in text


def test_what_is_used_by_what_is_used_is_there(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url, protocol=2) as client:
        assert client.eval(linked("return moment('0')"), 1, "t") == b'"1970-01-01T00:00:00.000Z"'


def test_words_in_texts_and_fields_ask_for_nothing() -> None:
    assert linked("return {'pause', x.resume} -- cancel") == (
        "return (function()\nreturn {'pause', x.resume} -- cancel\nend)()\n"
    )
