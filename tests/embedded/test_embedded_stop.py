"""Stopping the server."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from embedded_testing import connect, process_exists, process_of, socket_of

from chatq import embedded


def test_when_stop_returns_the_process_and_its_socket_are_gone(folder: Path) -> None:
    server = process_of(embedded.ensure_running(folder))

    assert embedded.stop(folder) is True

    assert embedded.running_url(folder) is None
    assert not socket_of(folder).exists()
    # Its new parent may not have read its exit status yet; a dead process has no command line.
    assert not process_exists(server) or not Path(f"/proc/{server}/cmdline").read_bytes()


def test_data_survives_a_stop_with_everysec(folder: Path) -> None:
    with connect(embedded.ensure_running(folder, fsync="everysec")) as client:
        client.set("job", "acknowledged")
    embedded.stop(folder)

    with connect(embedded.ensure_running(folder)) as client:
        assert client.get("job") == "acknowledged"


def test_there_may_be_no_server_to_stop(folder: Path) -> None:
    assert embedded.stop(folder) is False
    assert not folder.exists()


def test_a_stopped_server_is_none_to_stop(folder: Path) -> None:
    embedded.ensure_running(folder)
    embedded.stop(folder)

    assert embedded.stop(folder) is False


def test_a_killed_servers_socket_is_cleared_away(folder: Path) -> None:
    os.kill(process_of(embedded.ensure_running(folder)), signal.SIGKILL)

    assert embedded.stop(folder) is False
    assert not socket_of(folder).exists()


def test_a_server_in_use_is_not_stopped(folder: Path) -> None:
    url = embedded.ensure_running(folder)
    with connect(url) as one, connect(url) as other:
        one.ping()
        other.ping()

        with pytest.raises(embedded.ServerInUse) as caught:
            embedded.stop(folder)

        assert caught.value.clients == 2
        assert caught.value.message == f"The embedded server in {folder} is in use: 2 other connections."
        assert one.ping() is True


def test_force_stops_a_server_in_use(folder: Path) -> None:
    url = embedded.ensure_running(folder)
    with connect(url) as client:
        client.ping()

        assert embedded.stop(folder, force=True) is True

    assert embedded.running_url(folder) is None


def test_a_client_that_is_just_leaving_does_not_prevent_the_stop(folder: Path) -> None:
    client = connect(embedded.ensure_running(folder))
    client.ping()
    leaving = threading.Timer(0.1, client.close)
    leaving.start()

    assert embedded.stop(folder) is True

    leaving.join()


def test_two_stops_at_once_do_not_refuse_each_other(folder: Path) -> None:
    embedded.ensure_running(folder)
    outcomes: list[object] = []
    both = threading.Barrier(2)

    def stop() -> None:
        both.wait()
        try:
            outcomes.append(embedded.stop(folder))
        except embedded.EmbeddedServerError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=stop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert True in outcomes
    assert set(outcomes) <= {True, False}


def test_a_server_that_does_not_end_in_time_is_named(folder: Path) -> None:
    server = process_of(embedded.ensure_running(folder))
    os.kill(server, signal.SIGSTOP)

    with pytest.raises(embedded.NotReady, match=rf"\(process {server}\) did not end within 0.2 s"):
        embedded.stop(folder, timeout_s=0.2)


def test_a_new_server_can_follow_at_once(folder: Path) -> None:
    first = process_of(embedded.ensure_running(folder))
    embedded.stop(folder)

    assert process_of(embedded.ensure_running(folder)) != first
