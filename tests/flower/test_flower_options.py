"""Flower's options: which of several sources wins, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flower.options import options

from chatq_worker.flower_options import FlowerMisconfigured, set_options
from for_each import for_each


@pytest.fixture(autouse=True)
def fresh_options(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Flower's options are global: put back what they were. Nothing of this machine's environment counts."""
    for name in list(os.environ):
        if name.startswith("FLOWER_"):
            monkeypatch.delenv(name)
    before = options.as_dict()
    yield
    for name, value in before.items():
        setattr(options, name, value)


def test_without_a_word_it_is_loopback_port_5555() -> None:
    set_options()
    assert (options.address, options.port) == ("127.0.0.1", 5555)


def test_a_variable_overrides_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_PORT", "7000")
    monkeypatch.setenv("FLOWER_MAX_TASKS", "50")
    set_options()
    assert (options.port, options.max_tasks) == (7000, 50)


def test_an_argument_overrides_variable_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    conf = tmp_path / "flower.py"
    conf.write_text("port = 7001\n")
    monkeypatch.setenv("FLOWER_CONF", str(conf))
    monkeypatch.setenv("FLOWER_PORT", "7000")
    set_options(port=7002)
    assert options.port == 7002


def test_a_file_that_a_variable_names_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    conf = tmp_path / "flower.py"
    conf.write_text("natural_time = True\n")
    monkeypatch.setenv("FLOWER_CONF", str(conf))
    set_options()
    assert options.natural_time is True


def test_a_flowerconfig_of_the_working_folder_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "flowerconfig.py").write_text("port = 7001\n")
    monkeypatch.chdir(tmp_path)
    set_options()
    assert options.port == 5555


def test_what_flower_keeps_is_bounded() -> None:
    set_options()
    assert (options.max_tasks, options.max_workers, options.persistent) == (50_000, 500, False)


def test_it_only_shows_unless_it_is_asked_to_do_more(monkeypatch: pytest.MonkeyPatch) -> None:
    set_options()
    assert options.read_only is True
    set_options(read_only=False)
    assert options.read_only is False
    monkeypatch.setenv("FLOWER_READ_ONLY", "false")
    set_options()
    assert options.read_only is False
    set_options(read_only=True)
    assert options.read_only is True


@for_each("address", ["0.0.0.0", "", "::", "192.0.2.1", "example.org"])
def test_an_address_beyond_loopback_needs_a_login(address: str) -> None:
    with pytest.raises(FlowerMisconfigured, match=r"for everybody who can reach it") as refused:
        set_options(address=address)
    assert refused.value.remedy.startswith("Set FLOWER_BASIC_AUTH=user:password")


def test_the_address_of_a_variable_needs_a_login_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_ADDRESS", "0.0.0.0")
    with pytest.raises(FlowerMisconfigured):
        set_options()


@for_each("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_login(address: str) -> None:
    set_options(address=address)
    assert options.address == address


def test_with_a_login_it_may_listen_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "ann:one,bob:two:three")
    set_options(address="0.0.0.0")
    assert options.basic_auth == ["ann:one", "bob:two:three"]


@for_each("login", ["", "ann", "ann:", ":canary", "ann:one,"])
def test_a_login_without_user_or_password_is_none(monkeypatch: pytest.MonkeyPatch, login: str) -> None:
    monkeypatch.setenv("FLOWER_BASIC_AUTH", login)
    with pytest.raises(FlowerMisconfigured, match=r"no user or no password") as refused:
        set_options(address="0.0.0.0")
    assert "canary" not in str(refused.value)


def test_a_wrong_value_names_the_variables_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWER_PORT", "many")
    with pytest.raises(FlowerMisconfigured, match=r"'many'") as refused:
        set_options()
    assert refused.value.remedy == "Check FLOWER_PORT."


@for_each("content", ["port = 'many'\n", "1 +\n", "raise KeyError('x')\n"])
def test_a_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    conf = tmp_path / "flower.py"
    conf.write_text(content)
    monkeypatch.setenv("FLOWER_CONF", str(conf))
    with pytest.raises(FlowerMisconfigured) as refused:
        set_options()
    assert refused.value.remedy == f"Correct {conf}, which FLOWER_CONF names."


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWER_CONF", str(tmp_path / "none.py"))
    with pytest.raises(FlowerMisconfigured, match=r"No such file or directory"):
        set_options()
