"""Wrong use: one clear error with its remedy, exit code 2 (wrong use) or 1 (the work failed), nothing lost."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import WAIT_S, Installation, chatq

from chatq import ChatQueue, InvalidJob, JobTooLarge, ServerFull, UnknownConnection, UnknownJob
from servers import RealServer

PASSWORD = "canary-password-31c9"

CONFIG = {"connections": {"sim": {"source": "custom", "url": "simulator", "model": "demo"}}}


def clear_error(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """The command said what is wrong, and in a further line what to do; nothing else."""
    lines = ended.stderr.splitlines()
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert len(lines) >= 2
    assert lines[0].startswith("chatq ")
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr


# -- Jobs


@pytest.mark.parametrize(
    ("job", "error", "words"),
    [
        ({"connection": "smi", "prompt": "hi"}, UnknownConnection, 'did you mean "sim"?'),
        ({"connection": "sim", "prompt": ""}, InvalidJob, "the prompt is empty"),
        ({"connection": "sim", "prompt": " \n"}, InvalidJob, "the prompt is empty"),
        ({"connection": "sim", "messages": []}, InvalidJob, "empty list of messages"),
        ({"connection": "sim", "messages": [{"role": "boss", "content": "hi"}]}, InvalidJob, 'got "boss"'),
        ({"connection": "sim", "prompt": "x" * 70_000}, JobTooLarge, "bounds.job_bytes"),
        ({"connection": "sim", "prompt": "hi", "prioritty": 3}, InvalidJob, 'did you mean "priority"?'),
        ({"connection": "sim", "prompt": "hi", "priority": 10}, InvalidJob, "priority"),
        ({"connection": "sim", "prompt": "hi", "id": "no/slash"}, InvalidJob, "id"),
        ({"connection": "sim", "prompt": "hi", "not_before": "soon"}, InvalidJob, "not_before"),
    ],
    ids=lambda value: None if not isinstance(value, dict) else next(reversed(value)),
)
def test_a_wrong_job_is_refused_and_nothing_is_enqueued(
    installation: Installation, job: dict[str, Any], error: type[InvalidJob], words: str
) -> None:
    before = jobs_of(installation)
    with pytest.raises(error, match=words.replace("?", r"\?")) as caught:
        installation.queue.enqueue(**job)
    assert caught.value.remedy
    assert jobs_of(installation) == before


def test_the_command_refuses_a_wrong_job_in_the_same_words(installation: Installation) -> None:
    before = jobs_of(installation)
    job = json.dumps({"connection": "sim", "messages": [{"role": "boss", "content": "hi"}]})
    ended = installation.command("submit", "--file", "-", standard_input=job)
    clear_error(ended, 2, "messages.0.role", 'got "boss"', "it was not enqueued")
    clear_error(installation.command("submit", "sim", ""), 2, "the prompt is empty", "it was not enqueued")
    clear_error(installation.command("submit", "smi", "hi"), 2, 'did you mean "sim"?', "Use one of these")
    assert jobs_of(installation) == before


def jobs_of(installation: Installation) -> set[str]:
    return {key for key in installation.every_key() if key.startswith(("chatq:entry:", "chatq:job:"))}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["submit"], 2, "No connection was named"),
        (["submit", "sim", "--file", "missing.json"], 2, "missing.json cannot be read"),
        (["submit", "--file", "-"], 2, "not a JSON object"),
        (["result", "no-such-job"], 2, "no job 'no-such-job'"),
        (["cancel", "batch_0"], 2, "no batch 'batch_0'"),
        (["worker", "--pool", "prefork"], 2, "unrecognized arguments: --pool prefork"),
        (["submit", "no-key-for-commands", "job:cli-no-key Say hi", "--wait"], 1, "Set TEST_NO_SUCH_KEY"),
        (["why", "no-such-job"], 2, "no job 'no-such-job'"),
        (["batch", "retry", "batch_0"], 2, "no batch 'batch_0'"),
        (["batch", "results", "batch_0"], 2, "no batch 'batch_0'"),
        (["connections", "check", "smi"], 2, 'did you mean "sim"?'),
        (["connections", "pause", "smi"], 2, 'did you mean "sim"?'),
        (["connections", "resume", "smi"], 2, 'did you mean "sim"?'),
        (["connections", "pause"], 2, "name a connection"),
        (["connections", "resume"], 2, "name a connection"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_command_that_cannot_be_done_says_so(
    installation: Installation, arguments: list[str], code: int, words: str
) -> None:
    ended = installation.command(*arguments, standard_input="{")
    assert (ended.returncode, ended.stdout) == (code, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_record_that_is_not_there_is_an_unknown_job(installation: Installation) -> None:
    with pytest.raises(UnknownJob, match="no job 'nothing'"):
        installation.queue.get("nothing")
    with pytest.raises(UnknownJob):
        installation.queue.wait("nothing", WAIT_S)


# -- Settings


def test_every_mistake_in_a_config_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "redis: {url: somewhere}\nworkers: {}\nconnections:\n  sim:\n    source: custm\n"
    )
    for command in (ENQUEUE, WORK):
        ended = run_in(tmp_path, *command)
        clear_error(ended, 2, "config.yaml:1: redis.url", "config.yaml:2: workers", "config.yaml:5: conn")


# -- Servers


def run_in(folder: Path, *arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CHATQ_")}
    if url is not None:
        environ["CHATQ_REDIS_URL"] = url
    return chatq(*arguments, folder=folder, environ=environ)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config.yaml, whose server is named by the environment."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "config.yaml").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture(scope="module")
def guarded() -> Iterator[RealServer]:
    """A server with a password."""
    server = RealServer(password=PASSWORD).start()
    yield server
    server.remove()


ENQUEUE, WORK = ["submit", "sim", "Say hi"], ["worker"]


@pytest.mark.parametrize("arguments", [ENQUEUE, WORK], ids=["submit", "worker"])
def test_a_server_that_is_down_is_named(folder: Path, arguments: list[str]) -> None:
    ended = run_in(folder, *arguments, url="redis://127.0.0.1:1/0")
    clear_error(ended, 1, "redis://127.0.0.1:1/0 cannot be reached", "Start the server, or correct redis.url")


@pytest.mark.parametrize("arguments", [ENQUEUE, WORK], ids=["submit", "worker"])
def test_a_wrong_password_is_said_and_not_shown(
    folder: Path, guarded: RealServer, arguments: list[str]
) -> None:
    wrong = "canary-wrong-77d0"
    ended = run_in(folder, *arguments, url=f"redis+socket://:{wrong}@{guarded.socket}")
    clear_error(ended, 1, "refused the login", "Check user and password")
    assert wrong not in ended.stderr


def test_a_missing_password_is_said(folder: Path, guarded: RealServer) -> None:
    clear_error(run_in(folder, *ENQUEUE, url=f"redis+socket://{guarded.socket}"), 1, "refused the login")


def answer_as_redis_5(connected: socket.socket) -> None:
    info = b"# Server\r\nredis_version:5.0.14\r\nredis_mode:standalone\r\n"
    with connected, connected.makefile("rb") as lines:
        while line := lines.readline():
            words = [lines.read(int(lines.readline()[1:]) + 2)[:-2] for _ in range(int(line[1:]))]
            asked_info = words[0].upper() == b"INFO"
            connected.sendall(b"$%d\r\n%b\r\n" % (len(info), info) if asked_info else b"+OK\r\n")


@pytest.fixture(scope="module")
def old_server() -> Iterator[str]:
    """The URL of something that says it is Redis 5."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connected, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer_as_redis_5, args=(connected,), daemon=True).start()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_server_that_is_too_old_is_refused(folder: Path, old_server: str) -> None:
    ended = run_in(folder, *ENQUEUE, url=old_server)
    clear_error(ended, 1, "is version 5.0.14", "6.2 or newer", "Update the server")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--maxmemory", "1"], "out of memory"),
        (["--dir", "/proc", "--save", "3600 1"], "cannot write to its disk"),
    ],
    ids=["memory", "disk"],
)
def test_a_server_that_is_full_refuses_the_job_and_keeps_what_it_has(
    folder: Path, options: list[str], words: str
) -> None:
    server = RealServer(*options, "--maxmemory-policy", "noeviction").start()
    try:
        with server.client() as client:
            if "--save" in options:
                client.bgsave()
                while client.info("persistence")["rdb_bgsave_in_progress"]:
                    pass
            url = f"redis+socket://{server.socket}"
            clear_error(run_in(folder, *ENQUEUE, url=url), 1, words, "what is stored is safe")
            with ChatQueue(redis_url=url) as queue, pytest.raises(UnknownJob):
                queue.get("anything")  # reading goes on
            assert client.dbsize() == 0
    finally:
        server.remove()


def test_jobs_run_on_after_the_server_ran_out_of_memory(installation: Installation) -> None:
    job = installation.queue.enqueue("sim", "job:full [sim: latency 0.5]")
    assert installation.simulator.wait(job="full", in_flight=1)
    limit = installation.redis.config_get("maxmemory")["maxmemory"]
    installation.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(ServerFull):
            installation.queue.enqueue("sim", "job:refused")
        assert installation.queue.wait(job.id, WAIT_S).state == "succeeded"
    finally:
        installation.redis.config_set("maxmemory", limit)
    assert installation.run("sim", "job:after-full").state == "succeeded"
    assert installation.simulator.counts("refused")["received"] == 0


@pytest.mark.parametrize("arguments", [ENQUEUE, WORK], ids=["submit", "worker"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, arguments: list[str]) -> None:
    settings = {**CONFIG, "redis": {"url": "embedded:/proc/chatq"}}
    (tmp_path / "config.yaml").write_text(json.dumps(settings))
    clear_error(run_in(tmp_path, *arguments), 1, "/proc/chatq cannot be used", "name another folder")


def test_a_port_in_use_is_named(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = installation.command("flower", "--port", port)
    assert ended.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in ended.stderr
    assert "choose another port" in ended.stderr
    assert "Traceback" not in ended.stderr
