"""What operators get wrong, planted one at a time: doctor finds each, and names its remedy."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

from doctor_world import World

from chatq.cli.doctor.finding import Level
from chatq.contract.job import Job
from chatq.ledger.entry import Entry
from for_each import for_each
from servers import RealServer


class Case(NamedTuple):
    plant: Callable[[World], object]
    level: Level
    said: str
    remedy: str


# -- config.yaml and this machine


def names_no_file(world: World) -> None:
    world.patch.setenv("CHATQ_CONFIG", "/nowhere/config.yaml")
    world.config = None


def others_may_write_it(world: World) -> None:
    (world.folder / "config.yaml").chmod(0o666)


def others_may_read_the_password(world: World) -> None:
    world.write(url=f"unix://operator:pass@{world.server.socket}")
    (world.folder / "config.yaml").chmod(0o644)


def a_key_of_two_lines(world: World) -> None:
    world.patch.setenv("TEST_KEY", "sk-one\nsk-two")


def a_key_file(world: World, text: str, mode: int) -> None:
    world.write(connection={"api_key": f"file:{world.file('key', text, mode)}"})


def a_full_disk(world: World) -> None:
    (world.folder / "front").mkdir()
    world.write(http={"folder": "front"})
    full = SimpleNamespace(total=2**40, used=2**40 - 2**20, free=2**20)
    world.patch.setattr(shutil, "disk_usage", lambda _folder: full)


def a_shared_data_folder(world: World) -> None:
    shared = world.folder / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "others").touch()
    world.write(url=f"embedded:{shared}")


def a_clock_behind(world: World) -> None:
    now = time.time
    world.patch.setattr(time, "time", lambda: now() - 60)


HERE = {
    "a setting is misspelt": Case(
        lambda world: world.write(worker={"slotz": 5}),
        "wrong", 'slotz: unknown key; did you mean "slots"?', "Correct it",
    ),
    "a variable is misspelt": Case(
        lambda world: world.patch.setenv("CHATQ_REDIS_ULR", "redis://localhost"),
        "wrong", "CHATQ_REDIS_ULR: unknown setting", "Correct it",
    ),
    "CHATQ_CONFIG names no file": Case(
        names_no_file, "wrong", "there is no such file; it was named by $CHATQ_CONFIG", "Correct it"
    ),
    "results go before their jobs are tried for the last time": Case(
        lambda world: world.write(results={"keep": "30m"}), "wrong", "results.keep: expected more than", "Correct it"
    ),
    "an address has the endpoint's path": Case(
        lambda world: world.write(connection={"url": "http://127.0.0.1:5000/v1/chat/completions"}),
        "note", "/chat/completions is taken off; the base URL is http://127.0.0.1:5000/v1", "",
    ),
    "others may write config.yaml": Case(
        others_may_write_it, "wrong", "can be changed by others", "chmod go-w"
    ),
    "others may read Redis' password": Case(
        others_may_read_the_password,
        "wrong", "holds the password of Redis and can be read by others", "CHATQ_REDIS_URL",
    ),
    "a key is not set": Case(
        lambda world: world.patch.delenv("TEST_KEY"),
        "note", "connection sim: its key env:TEST_KEY is not set here", "Set TEST_KEY where the workers run",
    ),
    "a key has a line break": Case(
        a_key_of_two_lines,
        "wrong", "connection sim: env:TEST_KEY holds no key of printable characters", "Correct env:TEST_KEY",
    ),
    "a key file is empty": Case(
        lambda world: a_key_file(world, "\n", 0o600), "wrong", "holds no key of printable characters", "Correct file:"
    ),
    "others may read a key file": Case(
        lambda world: a_key_file(world, "sk-1", 0o644), "wrong", "can be read by others", "Run: chmod 600"
    ),
    "a key file is not there": Case(
        lambda world: world.write(connection={"api_key": "file:no-such-key"}),
        "note", "no-such-key is not set here", "readable by the workers' user only (chmod 600)",
    ),
    "slots beyond the limit of open files": Case(
        lambda world: world.write(worker={"slots": 2_000_000_000}), "wrong", "open files: the limit is", "LimitNOFILE="
    ),
    "the disk is full": Case(a_full_disk, "wrong", "disk: 1 MiB are free for", "Free some, or move the folder"),
    "others may enter the data folder": Case(
        a_shared_data_folder, "wrong", "Other users may enter the embedded server's folder", "chmod 700"
    ),
    "the clock is wrong": Case(a_clock_behind, "note", "this machine's is 60 s behind the server's", "chrony"),
}  # fmt: skip


# -- The HTTP front


def others_may_read_the_files(world: World) -> None:
    (world.folder / "front" / "files").mkdir(parents=True)
    (world.folder / "front" / "files").chmod(0o755)
    world.write(http={"folder": "front"})


def a_folder_that_cannot_be(world: World) -> None:
    (world.folder / "a-file").touch()
    world.write(http={"folder": "a-file/front"})


def on_all_addresses(world: World) -> None:
    world.write(http={"host": "0.0.0.0"})
    world.patch.setenv("CHATQ_HTTP_TOKENS", "0123456789abcdef")


FRONT = {
    "its folder cannot be written": Case(
        a_folder_that_cannot_be, "wrong", "a-file/front (http.folder) cannot be written", "Name another folder"
    ),
    "no token, for all the world": Case(
        lambda world: world.write(http={"host": "0.0.0.0"}),
        "note", "without tokens it listens on this machine alone, not on 0.0.0.0", "Correct it where the front runs",
    ),
    "a token that can be guessed": Case(
        lambda world: world.patch.setenv("CHATQ_HTTP_TOKENS", "secret"),
        "wrong", "expected at least 8 characters in each token", "Correct it",
    ),
    "others may read the tokens": Case(
        lambda world: world.write(http={"tokens_file": str(world.file("tokens", "[{token: 0123456789}]", 0o644))}),
        "wrong", "tokens: can be read by others; run: chmod 600", "Correct it",
    ),
    "tokens go unencrypted": Case(on_all_addresses, "note", "speaks no TLS", "Put a proxy with TLS before it"),
    "webhooks that nobody signs": Case(
        lambda world: world.write(http={"webhooks": {"hosts": ["example.org"], "secret": "env:NO_SUCH"}}),
        "note", "http.webhooks.secret: the environment variable NO_SUCH is not set", "Correct it where the front",
    ),
    "others may read uploads": Case(
        others_may_read_the_files, "wrong", "prompts and answers are in it", "chmod 700"
    ),
}  # fmt: skip


# -- Redis


def another_server(world: World, *options: str) -> RealServer:
    other = RealServer(*options)
    world.until_the_end.callback(other.remove)
    other.start()
    world.write(url=other.url)
    return other


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def open_to_all(world: World) -> None:
    # An address with a - before it may be another machine's: nobody is let in for the test.
    bind = ("--bind", "127.0.0.1", "-203.0.113.7", "--protected-mode", "no")
    another_server(world, "--port", free_port(), *bind)


def a_cluster(world: World) -> None:
    another_server(world, "--cluster-enabled", "yes", "--bind", "127.0.0.1", "--port", free_port())


def a_replica(world: World) -> None:
    world.redis.replicaof("127.0.0.1", "1")
    world.until_the_end.callback(world.redis.replicaof, "NO", "ONE")


def nearly_full(world: World) -> None:
    for number in range(320):  # not at once: what a command takes on its way counts too
        world.redis.set(f"chatq:filler:{number}", b"x" * 100_000)
    world.configure("maxmemory", int(world.redis.info("memory")["used_memory"]) * 20 // 19)


def a_user_without_rights(world: World) -> None:
    world.redis.acl_setuser("nobody", enabled=True, nopass=True, commands=["+info", "+time"])
    world.until_the_end.callback(world.redis.acl_deluser, "nobody")
    world.write(url=f"unix://nobody:any@{world.server.socket}")


def a_wrong_password(world: World) -> None:
    world.redis.acl_setuser("somebody", enabled=True, passwords=["+right"])
    world.until_the_end.callback(world.redis.acl_deluser, "somebody")
    world.write(url=f"unix://somebody:wrong@{world.server.socket}")


SERVER = {
    "nobody is there": Case(
        lambda world: world.write(url="unix:///nowhere/redis.sock"),
        "wrong", "Redis at unix:///nowhere/redis.sock cannot be reached", "Start the server, or correct redis.url",
    ),
    "a wrong password": Case(a_wrong_password, "wrong", "refused the login", "Check user and password in redis.url"),
    "a user without rights": Case(
        a_user_without_rights, "wrong", "does not permit what chatq needs", "deploy/redis-acl"
    ),
    "a cluster": Case(a_cluster, "wrong", "is a Redis Cluster", "Use a single server or Sentinel"),
    "a replica": Case(a_replica, "wrong", "it is a replica", "Point redis.url (CHATQ_REDIS_URL) at the primary"),
    "the AOF is off": Case(
        lambda world: world.configure("appendonly", "no"), "wrong", "the AOF is off", "Set appendonly yes"
    ),
    "the AOF reaches the disk when the system likes": Case(
        lambda world: world.configure("appendfsync", "no"),
        "wrong", "fsync left to the system", "Set appendfsync to always or everysec",
    ),
    "the AOF reaches the disk once a second": Case(
        lambda world: world.configure("appendfsync", "everysec"),
        "note", "can lose up to two seconds", "Set appendfsync always",
    ),
    "what is old is thrown away": Case(
        lambda world: world.configure("maxmemory-policy", "allkeys-lru"),
        "wrong", "maxmemory-policy allkeys-lru", "Set maxmemory-policy noeviction",
    ),
    "no limit of memory": Case(
        lambda world: world.configure("maxmemory", 0), "note", "maxmemory 0", "Set maxmemory to half"
    ),
    "the memory is nearly full": Case(nearly_full, "wrong", "% of maxmemory", "Raise its maxmemory"),
    "no password, for all the world": Case(
        open_to_all, "wrong", "asks for no password and is reached from elsewhere", "Set a password"
    ),
}  # fmt: skip


# -- Workers


def enqueue(world: World, count: int = 1) -> None:
    jobs = [Job(connection="sim", prompt="Say hi", id=f"j{number}") for number in range(count)]
    entries = [Entry.of(job, str(job.id), job.request(max_bytes=1000), "demo") for job in jobs]
    world.run(world.ledger.enqueue(entries, backlog_jobs=100, backlog_bytes=100_000, batch_id=""))


def no_worker_for_a_job(world: World) -> None:
    enqueue(world)
    world.no_worker()


def listens(world: World, channel: str) -> None:
    """A worker's ears are there, elsewhere."""
    world.no_worker()
    ears = world.redis.pubsub()
    world.until_the_end.callback(ears.close)
    ears.subscribe(channel)
    assert ears.get_message(timeout=10)["type"] == "subscribe"  # type: ignore[index]


def another_connection(world: World) -> None:
    world.write(
        connections={
            "sim": {"source": "custom", "url": "http://127.0.0.1:5000/v1", "model": "demo"},
            "new": {"source": "custom", "url": "http://127.0.0.1:5001/v1", "model": "demo"},
        }
    )


WORKERS = {
    "no worker": Case(no_worker_for_a_job, "wrong", "none is alive; 1 jobs wait", "Start one: chatq worker"),
    "workers under another prefix": Case(
        lambda world: listens(world, "team-b:kick"),
        "wrong", "under another key_prefix: team-b; here it is chatq", "the same redis.key_prefix",
    ),
    "workers on another db": Case(
        lambda world: listens(world, "chatq:kick"), "wrong", "on another db of this server", "the same redis.url"
    ),
    "an upgrade half done": Case(
        lambda world: world.worker("w2", version="0.0.1"),
        "note", "of different versions: 0.0.1, ", "Finish the upgrade",
    ),
    "workers older than who enqueues": Case(
        lambda world: (world.no_worker(), world.worker("w2", version="0.0.1")),
        "note", "of version 0.0.1, and this is ", "Upgrade the workers first",
    ),
    "workers with different files": Case(
        lambda world: world.worker("w2", settings="two"), "wrong", "run with different settings", "the same config.yaml"
    ),
    "a file that workers cannot use": Case(
        lambda world: world.worker("w2", config_problems=["config.yaml:3: worker.slotz: unknown key"]),
        "wrong", "they go on with older settings, because the file cannot be used: config.yaml:3", "Correct it",
    ),
    "a setting that waits for a restart": Case(
        lambda world: world.worker("w2", needs_restart=["worker.slots"]),
        "note", "changed, and not taken up: worker.slots", "Restart the workers",
    ),
    "another config.yaml than the workers'": Case(
        another_connection, "wrong", "their config.yaml has no connection new", "--config or CHATQ_CONFIG"
    ),
    "a connection that is another to the workers": Case(
        lambda world: world.published(sim={"model": "another"}),
        "note", "their config.yaml says something else of sim", "--config or CHATQ_CONFIG",
    ),
    "workers without a key": Case(
        lambda world: world.published(key="missing"),
        "wrong", "they cannot read the key of connection sim (env:TEST_KEY)", "Set TEST_KEY where the workers run",
    ),
    "one worker without a key": Case(
        lambda world: world.worker("w2", without_key=["sim"]),
        "wrong", "not all can (not w2; the others have its jobs) read the key of connection sim (env:TEST_KEY)",
        "Set TEST_KEY where those workers run",
    ),
    "fewer slots than calls allowed": Case(
        lambda world: world.write(connection={"limits": {"concurrency": 5000}}),
        "note", "limits.concurrency is 5,000, and all workers have 100 slots", "raise worker.slots",
    ),
}  # fmt: skip


# -- Connections


def little_room(world: World) -> None:
    world.write(bounds={"backlog": {"jobs": 10}})
    enqueue(world, 10)


def two_limits(world: World) -> None:
    world.write(connection={"limits": {"concurrency": 9}})
    world.run(world.ledger.publish("two", b"{}", {"account:sim": "sim", "concurrency:sim": 7}))


CONNECTIONS = {
    "it is paused": Case(
        lambda world: world.run(world.ledger.pause("sim", message="Paused for the audit.")),
        "wrong", "connection sim: it is paused: Paused for the audit.", "chatq connections resume sim",
    ),
    "its address is wrong": Case(
        lambda world: world.checked("not_found", message="It answered 404.", remedy="The base URL is http://a/v1."),
        "wrong", "its last check found not_found: It answered 404.",
        "The base URL is http://a/v1. Then: chatq connections check sim",
    ),
    "its model is misspelt": Case(
        lambda world: world.checked(
            "ok", message="Its list of models has no dema.", remedy="Check the model. The nearest of the list: demo."
        ),
        "note", "connection sim: Its list of models has no dema.", "The nearest of the list: demo.",
    ),
    "its key goes unencrypted": Case(
        lambda world: world.write(connection={"url": "http://api.example.com/v1"}),
        "wrong", "its key and prompts go to api.example.com unencrypted", "Write https:// in connections.sim.url",
    ),
    "a provider's connection names no key": Case(
        lambda world: world.write(connection={"source": "openai", "url": None, "api_key": None}),
        "wrong", "connection sim: it names no key, and openai answers nobody without one",
        "Write connections.sim.api_key:",
    ),
    "two limits for one account": Case(
        two_limits, "note", "its limits.concurrency is 9, that of another connection of the same account is 7",
        "State the same for both",
    ),
    "the backlog is nearly full": Case(
        little_room, "wrong", "backlog: 10 of 10 jobs wait", "raise bounds.backlog.jobs"
    ),
}  # fmt: skip

SECRETS = ("sk-canary", "sk-one", "sk-1", ":pass@", ":wrong@", ":any@", "0123456789")
PLANTED = {**HERE, **FRONT, **SERVER, **WORKERS, **CONNECTIONS}


@for_each("name", PLANTED)
def test_doctor_finds_what_was_planted_and_names_its_remedy(world: World, name: str) -> None:
    case = PLANTED[name]
    world.new()
    case.plant(world)
    findings = world.examine()
    [found] = [finding for finding in findings if case.said in finding.what] or [findings]
    assert (found.level, case.remedy in found.remedy) == (case.level, True), found  # type: ignore[union-attr]
    assert not any(secret in str(findings) for secret in SECRETS)


def test_doctor_has_nothing_to_say_of_an_installation_that_is_as_it_should_be(world: World) -> None:
    world.new()
    assert [finding for finding in world.examine() if finding.level != "ok"] == []
