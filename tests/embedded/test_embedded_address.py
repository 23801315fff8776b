"""Where the socket is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from embedded_testing import MakeFolder, connect, socket_of
from flower.utils.broker import Broker
from kombu.connection import Connection

from chatq import embedded
from chatq.embedded import address
from chatq.embedded.address import socket_path
from for_each import for_each


@pytest.fixture
def runtime_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A stand-in for /tmp, so that the real one is not attacked."""
    parent = tmp_path / "t"
    parent.mkdir(mode=0o777)
    monkeypatch.setattr(address, "_RUNTIME_PARENT", parent)
    return parent  # type: ignore[return-value]


def test_a_short_plain_folder_holds_its_own_socket() -> None:
    assert socket_path(Path("/srv/queue/.chatq")) == Path("/srv/queue/.chatq/redis.sock")


@for_each("letters", [96, 97])
def test_a_socket_path_has_at_most_107_bytes(letters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "MAXIMUM_BYTES", 107)  # Linux's, also where the tests run on macOS
    folder = Path("/" + "a" * (letters - 1))

    inside = folder / "redis.sock"  # 11 bytes more

    assert (socket_path(folder) == inside) is (letters == 96)


@for_each("folder", ["/srv/my queue", "/srv/Schlange-ä", "/srv/50%", "/srv/a?b", "/srv/a#b"])
def test_a_folder_that_a_url_would_have_to_quote_has_its_socket_elsewhere(folder: str) -> None:
    found = socket_path(Path(folder))

    assert found.parent == Path("/tmp").resolve() / f"chatq-{os.geteuid()}"


def test_two_deep_folders_have_two_sockets() -> None:
    deep = Path("/" + "d" * 200)

    assert socket_path(deep / "a") != socket_path(deep / "b")
    assert socket_path(deep / "a") == socket_path(deep / "a")


@for_each("name", ["deep-" * 30, "with space", "grüße-日本語", "quote'\"$`\\", "a%20b?c#d"])
def test_data_is_in_the_folder_whatever_its_name(make_folder: MakeFolder, name: str) -> None:
    folder = make_folder(name)
    with connect(embedded.ensure_running(folder)) as client:
        client.set("job", "kept")
    assert (folder / "appendonlydir").is_dir()
    embedded.stop(folder)

    with connect(embedded.ensure_running(folder)) as client:
        assert client.get("job") == "kept"


def test_celery_and_flower_reach_a_server_whose_folder_has_an_unusual_name(make_folder: MakeFolder) -> None:
    broker_url = embedded.as_broker_url(embedded.ensure_running(make_folder("grüße an alle")))

    with Connection(broker_url) as connection, connection.SimpleQueue("celery") as queue:
        queue.put("wake up")
        assert asyncio.run(Broker(broker_url).queues(["celery"])) == [{"name": "celery", "messages": 1}]
        queue.get(timeout=5).ack()


@for_each(
    ("url", "broker_url"),
    [
        ("unix:///srv/q/redis.sock", "redis+socket:///srv/q/redis.sock"),
        ("unix:///srv/q/redis.sock?db=3", "redis+socket:///srv/q/redis.sock?virtual_host=3"),
        ("unix://me:p%40ss@/srv/redis.sock", "redis+socket://me:p%40ss@/srv/redis.sock"),
        ("unix:///srv/redis.sock?password=p%40ss", "redis+socket://:p%40ss@/srv/redis.sock"),
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("redis+socket:///srv/redis.sock", "redis+socket:///srv/redis.sock"),
        ("amqp://guest@host//", "amqp://guest@host//"),
    ],
)
def test_a_url_in_celerys_words(url: str, broker_url: str) -> None:
    assert embedded.as_broker_url(url) == broker_url


def test_the_runtime_directory_is_the_users_alone(runtime_parent: Path) -> None:
    found = socket_path(Path("/" + "d" * 200))

    assert found.parent == runtime_parent / f"chatq-{os.geteuid()}"
    assert found.parent.stat().st_mode & 0o777 == 0o700


def test_a_link_in_place_of_the_runtime_directory_is_not_followed(
    runtime_parent: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (runtime_parent / f"chatq-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(embedded.SocketTaken, match="is not a directory"):
        socket_path(Path("/" + "d" * 200))


def test_a_runtime_directory_open_to_others_is_refused(runtime_parent: Path) -> None:
    directory = runtime_parent / f"chatq-{os.geteuid()}"
    directory.mkdir()
    directory.chmod(0o770)

    with pytest.raises(embedded.SocketTaken, match=r"is open to other users \(mode 770\)"):
        socket_path(Path("/" + "d" * 200))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_runtime_directory_of_another_user_is_refused(runtime_parent: Path) -> None:
    directory = runtime_parent / f"chatq-{os.geteuid()}"
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)

    with pytest.raises(embedded.SocketTaken, match="belongs to user id 65534"):
        socket_path(Path("/" + "d" * 200))


def test_a_runtime_directory_that_is_too_deep_itself_is_refused(runtime_parent: Path) -> None:
    parent = runtime_parent / ("p" * 100)
    parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(address, "_RUNTIME_PARENT", parent)
        with pytest.raises(embedded.SocketTaken, match="is longer than") as caught:
            socket_path(Path("/" + "d" * 200))

    assert caught.value.remedy == "Name a folder with a short path (redis.url: embedded:FOLDER)."


def test_a_file_at_the_sockets_path_is_refused_and_left_as_it_was(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    socket_of(folder).write_text("not a socket")

    with pytest.raises(embedded.SocketTaken) as caught:
        embedded.ensure_running(folder)

    assert caught.value.message == (
        "Another program's file is where the embedded server's socket belongs: "
        f"{socket_of(folder)} is not a socket."
    )
    assert socket_of(folder).read_text() == "not a socket"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
def test_another_programs_socket_is_refused_and_left_as_it_was(folder: Path, answer: bytes) -> None:
    folder.mkdir(mode=0o700)
    path = socket_of(folder)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    visitor, _ = listener.accept()
                except OSError:
                    return
                with visitor, contextlib.suppress(BrokenPipeError):
                    visitor.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        try:
            with pytest.raises(embedded.SocketTaken, match="Another program's file"):
                embedded.ensure_running(folder, timeout_s=0.2)
            assert path.is_socket()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            server.join()
