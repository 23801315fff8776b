"""Starting the server, and what it survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from embedded_testing import MakeFolder, connect, process_exists, process_of, python, socket_of, starts

from chatq import embedded

STARTER = """
import signal, sys
from pathlib import Path
from chatq.embedded import ensure_running
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
print("imported", flush=True)
sys.stdin.readline()
print(ensure_running(Path(sys.argv[1])), flush=True)
sys.stdin.readline()
"""


def started_by_another_process(folder: Path, **options: object) -> tuple[subprocess.Popen[str], str]:
    starter = python(STARTER, folder, **options)
    assert starter.stdin is not None
    assert starter.stdout is not None
    starter.stdin.write("go\n")
    starter.stdin.flush()
    assert starter.stdout.readline() == "imported\n"
    return starter, starter.stdout.readline().strip()


def test_a_missing_server_is_started_and_answers(folder: Path) -> None:
    url = embedded.ensure_running(folder)

    assert url == f"unix://{socket_of(folder)}"
    with connect(url) as client:
        assert client.ping() is True


def test_a_running_server_is_used_again(folder: Path) -> None:
    first = process_of(embedded.ensure_running(folder))

    assert process_of(embedded.ensure_running(folder)) == first


def test_the_same_folder_by_another_path_is_the_same_server(folder: Path, tmp_path: Path) -> None:
    url = embedded.ensure_running(folder)
    (tmp_path / "link").symlink_to(folder)

    assert embedded.ensure_running(tmp_path / "link") == url


@pytest.mark.thorough
def test_eight_processes_at_once_make_one_server(folder: Path) -> None:
    starters = [python(STARTER, folder) for _ in range(8)]
    try:
        for starter in starters:
            assert starter.stdout is not None
            assert starter.stdout.readline() == "imported\n"
        for starter in starters:
            assert starter.stdin is not None
            starter.stdin.write("go\n")
            starter.stdin.flush()
        urls = [starter.stdout.readline().strip() for starter in starters if starter.stdout]
    finally:
        for starter in starters:
            starter.communicate("end\n")

    assert urls == [f"unix://{socket_of(folder)}"] * 8
    assert starts(folder) == 1


def test_only_looking_starts_nothing(folder: Path) -> None:
    assert embedded.running_url(folder) is None
    assert not folder.exists()


def test_only_looking_finds_a_running_server(folder: Path) -> None:
    url = embedded.ensure_running(folder)

    assert embedded.running_url(folder) == url


@pytest.mark.thorough
def test_the_server_survives_an_interrupt_of_its_starters_process_group(folder: Path) -> None:
    starter, url = started_by_another_process(folder, start_new_session=True, stderr=subprocess.DEVNULL)
    server = process_of(url)

    os.killpg(starter.pid, signal.SIGINT)
    starter.communicate()

    assert starter.returncode != 0
    assert os.getsid(server) == server, "a session of its own: no terminal can interrupt it"
    assert process_of(url) == server


def test_the_server_survives_the_death_of_its_starter(folder: Path) -> None:
    starter, url = started_by_another_process(folder)
    server = process_of(url)

    starter.kill()
    starter.communicate()

    assert process_of(url) == server


def test_the_server_is_not_a_child_of_its_starter(folder: Path) -> None:
    server = process_of(embedded.ensure_running(folder))

    with pytest.raises(ChildProcessError):
        os.waitpid(server, os.WNOHANG)


def test_data_survives_the_kill_of_the_server(folder: Path) -> None:
    url = embedded.ensure_running(folder)
    killed = process_of(url)
    with connect(url) as client:
        client.set("job", "acknowledged")

    os.kill(killed, signal.SIGKILL)
    assert embedded.ensure_running(folder) == url

    with connect(url) as client:
        assert client.get("job") == "acknowledged"
    assert process_of(url) != killed


def test_the_socket_left_by_a_killed_server_is_not_a_running_server(folder: Path) -> None:
    os.kill(process_of(embedded.ensure_running(folder)), signal.SIGKILL)

    assert socket_of(folder).exists()
    assert embedded.running_url(folder) is None


def test_acknowledged_means_on_the_disk_unless_told_otherwise(make_folder: MakeFolder) -> None:
    with connect(embedded.ensure_running(make_folder("default"))) as client:
        assert client.config_get("append*", "appendfilename")["appendonly"] == "yes"
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
    with connect(embedded.ensure_running(make_folder("relaxed"), fsync="everysec")) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_of_two_wishes_for_fsync_the_stricter_wins(folder: Path) -> None:
    url = embedded.ensure_running(folder, fsync="everysec")
    embedded.ensure_running(folder, fsync="always")
    embedded.ensure_running(folder, fsync="everysec")

    with connect(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_a_full_memory_refuses_writes_and_drops_nothing(folder: Path) -> None:
    with connect(embedded.ensure_running(folder)) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_half_of_the_memory_is_the_limit_unless_told_otherwise(folder: Path) -> None:
    with connect(embedded.ensure_running(folder)) as client:
        limit = int(client.config_get("maxmemory")["maxmemory"])

    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < limit <= physical // 2


def test_a_memory_limit_also_reaches_a_running_server(folder: Path) -> None:
    url = embedded.ensure_running(folder, maxmemory=200_000_000)
    with connect(url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": "200000000"}

    embedded.ensure_running(folder, maxmemory=300_000_000)
    embedded.ensure_running(folder)  # no wish changes nothing

    with connect(url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": "300000000"}


def test_nobody_can_reach_the_server_over_the_network(folder: Path) -> None:
    with connect(embedded.ensure_running(folder)) as client:
        assert client.config_get("port") == {"port": "0"}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_servers_environment_has_nothing_of_ours_but_the_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a key that only we may know")
    monkeypatch.setenv("PATH", "/somewhere")

    server = process_of(embedded.ensure_running(folder))

    environment = Path(f"/proc/{server}/environ").read_bytes().rstrip(b"\0").split(b"\0")
    assert sorted(environment) == [
        b"GLIBC_TUNABLES=glibc.malloc.tcache_count=20000",
        b"LANG=C",
        b"PATH=/somewhere",
    ]


def seconds(client: redis.Redis, script: str) -> float:
    begun = time.perf_counter()
    client.eval(script, 0)
    return time.perf_counter() - begun


@pytest.mark.thorough
def test_a_server_that_reads_in_its_data_is_waited_for_beyond_the_timeout(folder: Path) -> None:
    url = embedded.ensure_running(folder)
    # A file that is slow to read in, on any machine: 0.1 ms a script, 1024 scripts between two signs of life.
    with connect(url) as client:
        loops = int(1_000_000 * 0.0001 / min(seconds(client, "for i = 1, 1000000 do end") for _ in range(5)))
    embedded.stop(folder)
    script = f"for i = 1, {loops} do end"
    command = f"*3\r\n$4\r\nEVAL\r\n${len(script)}\r\n{script}\r\n$1\r\n0\r\n"
    (data,) = (folder / "appendonlydir").glob("*.incr.aof")
    data.write_text(command * 32 * 1024, newline="")

    begun = time.monotonic()
    embedded.ensure_running(folder, timeout_s=1)

    # Three times as long, and more than as long where the machine was busy while it was measured.
    assert time.monotonic() - begun > 1


def test_a_server_that_hangs_is_named_after_the_timeout(folder: Path) -> None:
    server = process_of(embedded.ensure_running(folder))
    os.kill(server, signal.SIGSTOP)

    with pytest.raises(embedded.NotReady) as caught:
        embedded.ensure_running(folder, timeout_s=0.2)

    assert caught.value.message == (
        f"The embedded server in {folder} (process {server}) did not answer within 0.2 s."
    )
    assert f"kill -9 {server}" in caught.value.remedy
    assert process_exists(server)


def test_a_server_whose_socket_was_deleted_gets_no_second_one_beside_it(folder: Path) -> None:
    embedded.ensure_running(folder)
    socket_of(folder).unlink()

    with pytest.raises(embedded.NotReady, match="its socket was deleted"):
        embedded.ensure_running(folder, timeout_s=0.2)

    assert starts(folder) == 1


def test_damaged_data_is_reported_with_the_servers_words_and_the_way_out(folder: Path) -> None:
    with connect(embedded.ensure_running(folder)) as client:
        client.set("before", "kept")
        client.set("damaged", "x" * 100)
        client.set("behind", "lost")
    embedded.stop(folder)
    (data,) = (folder / "appendonlydir").glob("*.incr.aof")
    data.write_bytes(data.read_bytes().replace(b"$7\r\ndamaged", b"?7\r\ndamaged"))

    with pytest.raises(embedded.StartFailed) as caught:
        embedded.ensure_running(folder)

    assert "Bad file format reading the append only file" in caught.value.message
    # What a user would paste.
    command = caught.value.remedy.splitlines()[0].partition("damage begins: ")[2]
    subprocess.run(
        ["/bin/sh", "-c", f"PATH={os.defpath}; {command}"],
        input="y\n",
        text=True,
        check=True,
        capture_output=True,
    )
    with connect(embedded.ensure_running(folder)) as client:
        assert client.get("before") == "kept"
        assert client.get("behind") is None


def test_a_long_log_is_put_aside_while_the_server_runs(folder: Path) -> None:
    url = embedded.ensure_running(folder)
    log = folder / "server.log"
    with log.open("a") as file:
        file.write("x" * 1024**2)

    embedded.ensure_running(folder)

    assert (folder / "server.log.1").stat().st_size > 1024**2
    assert not log.exists()
    with connect(url) as client:
        client.shutdown()
    assert "ready to exit" in log.read_text()


def test_a_running_server_logs_only_warnings(folder: Path) -> None:
    with connect(embedded.ensure_running(folder)) as client:
        assert client.config_get("loglevel") == {"loglevel": "warning"}
