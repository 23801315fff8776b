"""deploy/redis-acl/users.acl: each part can do what it has to as its own user, and nothing beyond."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from compose import ROOT
from flower_process import FlowerProcess
from front_process import FrontProcess
from installation import WAIT_S, Installation, until
from redis.exceptions import NoPermissionError
from server_files import ACL, settings_of_files_alone
from server_files import users as users_of

from for_each import for_each
from servers import RealServer, free_port

USERS = {line.split()[1]: line.split()[2:] for line in ACL.read_text("ascii").splitlines()}
LEDGER = ROOT / "producer/chatq/ledger"


class Users:
    """A server with the file's users, whose passwords are their names."""

    def __init__(self, folder: Path) -> None:
        (folder / "users.acl").write_text(users_of(ACL))
        self._port = free_port()
        listens = ("--port", str(self._port), "--bind", "127.0.0.1")
        self.server = RealServer("--aclfile", str(folder / "users.acl"), *listens)
        self.server.url = self.server.url.replace("unix://", "unix://admin:admin@")

    def url(self, user: str) -> str:
        return f"redis://{user}:{user}@127.0.0.1:{self._port}/0"

    def client(self, user: str) -> redis.Redis:
        return redis.Redis.from_url(self.url(user), protocol=2, decode_responses=True)

    def refused(self) -> list[str]:
        """What was refused to anybody, since it was asked last."""
        with contextlib.closing(self.server.client(decode_responses=True)) as admin:
            log = [f"{entry['username']}: {entry['reason']} {entry['object']}" for entry in admin.acl_log()]
            admin.acl_log_reset()
        return log


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Users]:
    made = Users(tmp_path_factory.mktemp("users"))
    made.server.start()
    with settings_of_files_alone():
        yield made
    made.server.remove()


@for_each("user", ["producer", "front", "worker"])
def test_who_calls_the_ledger_may_run_every_command_of_its_scripts(user: str) -> None:
    """A script runs with its caller's rights; what a rare path needs is not found by trying."""
    scripts = "".join(path.read_text("utf-8") for path in LEDGER.rglob("*.lua"))
    needed = {f"+{command.lower()}" for command in re.findall(r"call\('([A-Z]+)'", scripts)}
    assert len(needed) > 30
    assert needed - set(USERS[user]) == set()


REFUSED: dict[str, list[tuple[str, ...]]] = {
    "everybody": [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("CONFIG", "GET", "requirepass"),
        ("CONFIG", "SET", "dir", "/tmp"),
        ("ACL", "LIST"),
        ("ACL", "SETUSER", "me", "on"),
        ("MONITOR",),
        ("MODULE", "LIST"),
        ("SHUTDOWN", "NOSAVE"),
        ("REPLICAOF", "NO", "ONE"),
        ("SCRIPT", "FLUSH"),
        ("FUNCTION", "LIST"),
        ("CLIENT", "LIST"),
        ("CLIENT", "KILL", "TYPE", "normal"),
        ("SAVE",),
        ("DUMP", "chatq:result:1"),
        ("MIGRATE", "127.0.0.1", "1", "chatq:result:1", "0", "1"),
        ("GET", "chatq-b:result:1"),
        ("GET", "another"),
        ("PUBLISH", "another", "x"),
    ],
    "producer": [
        ("PUBLISH", "chatq:celery:0.chatq.control.pidbox", "shutdown"),
        ("LPUSH", "chatq:queue:w", "x"),
        ("PSUBSCRIBE", "chatq:celery:0.chatq.events/*"),
        ("DEL", "chatq.control.w"),
    ],
    "worker": [("HGET", "chatq-b:settings", "settings"), ("SUBSCRIBE", "chatq-b:kick")],
    "flower": [
        ("GET", "chatq:entry:1"),
        ("GET", "chatq:result:1"),
        ("HGET", "chatq:celery:unacked", "1"),
        ("RPOP", "chatq"),
        ("LPUSH", "chatq", "x"),
        ("LRANGE", "chatq:deltas:1", "0", "-1"),
        ("SET", "chatq:result:1", "x"),
        ("SUBSCRIBE", "chatq:done:1"),
    ],
}
REFUSED["submitter"] = [
    ("GET", "chatq:result:1"),
    ("RPOP", "chatq"),
    ("LRANGE", "chatq", "0", "-1"),
    ("LPUSH", "chatq:queue:w", "x"),
    ("PUBLISH", "chatq:celery:0.chatq.control.pidbox", "shutdown"),
]
REFUSED["reader"] = [("GET", "chatq:entry:1"), ("DEL", "chatq:result:1"), ("PUBLISH", "chatq:done:1", "x")]
REFUSED["front"] = REFUSED["producer"]


@for_each("user", ["producer", "front", "worker", "flower", "submitter", "reader"])
def test_what_a_user_does_not_need_is_refused(users: Users, user: str) -> None:
    with contextlib.closing(users.client(user)) as client:
        for command in REFUSED["everybody"] + REFUSED[user]:
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)
    users.refused()


def test_nobody_comes_in_without_a_user(users: Users) -> None:
    with contextlib.closing(users.client("")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    users.refused()


def test_a_script_of_a_user_reaches_no_further_than_the_user(users: Users) -> None:
    with contextlib.closing(users.client("worker")) as client:
        for script in (
            "redis.call('GET', 'another')",
            "redis.call('FLUSHALL')",
            "redis.call('CONFIG', 'GET', '*')",
        ):
            with pytest.raises(
                redis.ResponseError, match=r"(?i)permission|not allowed|can't (run|access)|ACL failure"
            ):
                client.eval(script, 0)
    users.refused()


Parts = tuple[Installation, FrontProcess, FlowerProcess]


@pytest.fixture(scope="module")
def parts(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A worker, a caller, a front and Flower, each as its own user."""

    def as_user(user: str) -> dict[str, str]:
        return {"CHATQ_REDIS_URL": users.url(user)}

    may = {"FLOWER_UNAUTHENTICATED_API": "1", "FLOWER_READ_ONLY": "false"}
    with Installation(tmp_path_factory.mktemp("parts"), redis={"url": users.url("producer")}) as installation:
        installation.redis.close()
        installation.redis = users.client("admin")
        with (
            FlowerProcess(installation, **may, **as_user("flower")) as flower,
            FrontProcess(installation, environ=as_user("front")) as front,
        ):
            installation.start_worker(environ=as_user("worker"))
            yield installation, front, flower


@pytest.mark.thorough
def test_each_part_does_its_work_and_is_refused_nothing(users: Users, parts: Parts) -> None:
    installation, front, flower = parts
    queue = installation.queue
    users.refused()

    # A caller
    assert installation.run("sim", "job:one").state == "succeeded"
    batch = queue.enqueue_batch([f"job:of-a-batch-{number}" for number in range(20)], "sim")
    assert len(installation.follow(batch.id)) == 20
    assert "".join(queue.stream("sim", "[sim: slow_drip 0.2]"))
    assert queue.check("sim").state == "ok"
    assert queue.models("sim")
    installation.hold_answers()
    jobs = [queue.enqueue("sim", f"job:held-{number}") for number in range(3)]
    installation.await_in_flight(3)
    assert queue.why(jobs[0].id).reason == "running"
    queue.cancel(jobs[0].id)
    batch = queue.enqueue_batch(["job:paused-1", "job:paused-2"], "once")
    queue.pause_batch(batch.id)
    queue.move_batch(batch.id, "sim")
    queue.resume_batch(batch.id)
    queue.cancel_batch(batch.id)
    flower.post(f"/api/task/revoke/{jobs[1].id}?terminate=true")
    assert {queue.wait(job.id, WAIT_S).state for job in jobs[:2]} == {"cancelled"}
    installation.release_answers()
    assert queue.wait(jobs[2].id, WAIT_S).state == "succeeded"
    queue.delete(jobs[2].id)
    queue.pause("sim", message="A test.")
    queue.resume("sim")
    queue.limits("sim")
    queue.retry_failed()
    assert queue.overview()["ready"]
    assert len(queue.batches()) == 2

    # The front
    assert front.ask("Say hi", model="sim").status_code == 200
    assert [front.client.get(path).status_code for path in ("/", "/metrics", "/readyz", "/v1/models")] == [
        200
    ] * 4

    # Flower
    until(lambda: len(flower.rows()) >= 20, "Flower to show the jobs")
    workers = json.loads(flower.text("/api/workers?refresh=1"))
    assert len(workers) == 1
    for path in ("/", "/tasks", "/broker", *(f"/worker/{name}" for name in workers)):
        assert "<html" in flower.text(path)
    assert {row["name"] for row in json.loads(flower.text("/api/queues/length"))["active_queues"]}

    # Doctor, as the caller: it is refused what a caller has no business with, and goes on without.
    told = installation.command("doctor").stdout
    assert "does not permit" not in told
    assert "how soon it reaches the disk, the server does not say" in told or "the AOF is off" in told
    assert set(users.refused()) <= {"producer: command config|get", "producer: command config"}

    # Another service, by Celery and a plain read
    with Celery("other", broker=users.url("submitter"), set_as_current=False) as app:
        job = {"connection": "sim", "prompt": "job:by-celery"}
        app.send_task("chatq.submit", [job], task_id="by-celery", queue="chatq")
    with contextlib.closing(users.client("reader")) as reader:
        record = until(lambda: reader.get("chatq:result:by-celery"), "the job to end")
    assert json.loads(record)["state"] == "succeeded"

    # Another worker, that leaves again
    second = installation.start_worker(environ={"CHATQ_REDIS_URL": users.url("worker")})
    second.ask_to_end()
    assert second.wait() == 0
    assert users.refused() == []
