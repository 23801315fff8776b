"""A key is read from where its connection says, or missing with a reason that never shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatq.contract.connection import Connection
from chatq_worker.api_keys import read_key
from chatq_worker.failures import CallFailed
from for_each import for_each


def connection(api_key: str | None) -> Connection:
    return Connection.model_validate({"source": "openai", "api_key": api_key})


def test_a_connection_without_a_key_sends_none() -> None:
    assert read_key(connection(None), {}) is None


def test_a_key_comes_from_the_environment_without_the_space_around_it() -> None:
    assert read_key(connection("env:A_KEY"), {"A_KEY": " sk-canary \n"}) == "sk-canary"


@for_each("value", [None, "", "  ", "sk canary", "sk-\ncanary", "sk-canäry", "sk-\x00canary"])
def test_a_key_that_no_header_can_carry_is_missing_and_not_shown(value: str | None) -> None:
    with pytest.raises(CallFailed) as caught:
        read_key(connection("env:A_KEY"), {} if value is None else {"A_KEY": value})
    assert caught.value.code == "key_missing"
    assert not caught.value.sent
    assert "A_KEY" in caught.value.message
    assert "canary" not in str(caught.value) + caught.value.remedy


def test_a_key_comes_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-canary\n")
    file.chmod(0o600)
    assert read_key(connection(f"file:{file}"), {}) == "sk-canary"


def test_a_key_file_that_others_can_read_is_refused_with_the_command_to_run(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-canary")
    file.chmod(0o644)
    with pytest.raises(CallFailed) as caught:
        read_key(connection(f"file:{file}"), {})
    assert f"chmod 600 {file}" in caught.value.remedy


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="No such file"):
        read_key(connection(f"file:{tmp_path / 'none'}"), {})
