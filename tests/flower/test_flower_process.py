"""`chatq flower` as a process: where it listens, what it says when it cannot, how it ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from flower_process import FlowerProcess
from installation import Installation


@pytest.fixture
def own_installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose server the test may kill."""
    with Installation(tmp_path_factory.mktemp("own")) as installation:
        yield installation


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_it_ends_quietly_when_told_and_has_said_nothing_while_no_worker_was_there(
    installation: Installation, number: signal.Signals
) -> None:
    """Neither warnings of Python's and Flower's nor a flowerconfig.py of the folder come through."""
    (installation.folder / "flowerconfig.py").write_text("open('was-read', 'w')\n")
    with FlowerProcess(installation, FLOWER_UNAUTHENTICATED_API="1", fresh=True) as flower:
        assert flower.text("/api/workers?refresh=1") == "{}"
        assert flower.end(number) == 0
    assert flower.errors == ""
    assert not (installation.folder / "was-read").exists()


@pytest.mark.thorough
def test_it_ends_when_told_also_while_the_server_is_gone(own_installation: Installation) -> None:
    with FlowerProcess(own_installation) as flower:
        own_installation.kill_server()
        assert flower.end(signal.SIGTERM) == 0
    assert "Traceback" not in flower.errors


def test_it_listens_on_loopback_only_and_keeps_its_api_closed(installation: Installation) -> None:
    with FlowerProcess(installation) as flower:
        place = urlsplit(flower.url)
        assert place.hostname == "127.0.0.1"
        # Loopback has more addresses than one: what listened everywhere would answer here.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", place.port))
        with pytest.raises(HTTPError) as closed:
            flower.text("/api/tasks")
        with closed.value:
            assert closed.value.code == 401


def test_unless_asked_it_only_shows(installation: Installation) -> None:
    with FlowerProcess(installation, FLOWER_UNAUTHENTICATED_API="1") as flower:
        with pytest.raises(HTTPError) as refused:
            flower.post("/api/task/revoke/no-such-job?terminate=true")
        with refused.value:
            assert refused.value.code == 403


def test_a_port_in_use_is_one_error_that_tells_the_way_out(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = installation.command("flower", "--port", port)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"chatq flower: Flower cannot listen at http://127.0.0.1:{port}: Address already in use.\n"
        "Stop what listens there (another `chatq up` or `chatq flower`?), or choose another port: FLOWER_PORT=5556, "
        "or chatq flower --port 5556.\n"
    )


def test_another_address_without_a_login_is_refused(installation: Installation) -> None:
    ended = installation.command("flower", "--address", "0.0.0.0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "chatq flower: Flower would listen on 0.0.0.0 for everybody who can reach it.\n"
        "Set FLOWER_BASIC_AUTH=user:password, or let it listen on 127.0.0.1.\n"
    )


@pytest.mark.thorough
def test_a_server_that_is_away_is_one_error(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = installation.folder / "away.yaml"
    config.write_text(f"redis: {{url: 'redis://:canary-password@127.0.0.1:{port}/0'}}\nconnections: {{}}\n")
    ended = installation.command("flower", "--config", str(config), "--port", "0")
    assert ended.returncode == 1
    assert ended.stderr.startswith(
        f"chatq flower: Redis at redis://:***@127.0.0.1:{port}/0 cannot be reached: "
    )
    assert "Traceback" not in ended.stderr
    assert "canary-password" not in ended.stderr
