"""Asking a server that misbehaves: errors are ours and say what to do, and calls outlive what passes."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import redis
import redis.asyncio
import uvloop
from ledger_driver import PLENTY, LedgerDriver

from chatq.contract.errors import ServerError, ServerFull, ServerRefused, ServerUnreachable, ServerUnsuitable
from chatq.contract.job import Job
from chatq.ledger.entry import Entry
from chatq.ledger.ledger import Ledger
from chatq.ledger.replies import Begun, Enqueued
from chatq.ledger.server import AsyncServer, Server, _is_refusal, shown
from for_each import for_each
from servers import RealServer

LEDGER = Ledger("t")
READ = LEDGER.read(["nobody"])

MakeServer = Callable[..., RealServer]


def enqueue(number: int) -> Entry:
    job = Job(connection="alpha", prompt="Say hi")
    return Entry.of(job, f"j{number}", job.request(max_bytes=1000), "m")


async def enqueue_many(server: AsyncServer, count: int) -> list[Enqueued]:
    """As many calls at once, one job each."""
    calls = (LEDGER.enqueue([enqueue(n)], backlog_jobs=1 << 20, backlog_bytes=1 << 30) for n in range(count))
    return await asyncio.gather(*(server.run(call) for call in calls))


@contextlib.asynccontextmanager
async def opened(url: str, patience_s: float = 8.0) -> AsyncIterator[AsyncServer]:
    """An asynchronous server that has answered once, and is closed in the end."""
    server = AsyncServer(lambda: url, patience_s=patience_s)
    try:
        await server.run(READ)
        yield server
    finally:
        await server.close()


@pytest.fixture
def make_server() -> Iterator[MakeServer]:
    """Start a server of one's own, to be misconfigured or killed."""
    made: list[RealServer] = []

    def make(*options: str, password: str = "") -> RealServer:
        made.append(RealServer(*options, password=password))
        return made[-1].start()

    yield make
    for server in made:
        server.remove()


def failure(url: str) -> ServerError:
    """What a blocking caller of this server sees; an asynchronous one must see the same."""
    with contextlib.closing(Server(lambda: url)) as server, pytest.raises(ServerError) as blocking:
        server.run(LEDGER.open_batch("b", {}, 60))

    async def ask() -> None:
        server = AsyncServer(lambda: url)
        try:
            await server.run(LEDGER.open_batch("b", {}, 60))
        finally:
            await server.close()

    with pytest.raises(ServerError) as asynchronous:
        asyncio.run(ask())
    assert (type(blocking.value), blocking.value.remedy) == (
        type(asynchronous.value),
        asynchronous.value.remedy,
    )
    assert asynchronous.value.message == blocking.value.message
    return blocking.value


def test_a_server_that_was_never_there_is_an_error_at_once() -> None:
    start = time.monotonic()
    error = failure("unix:///nowhere/socket")
    assert time.monotonic() - start < 1
    assert isinstance(error, ServerUnreachable)
    assert "unix:///nowhere/socket cannot be reached" in error.message
    assert "Start the server, or correct redis.url" in error.remedy


def test_a_wrong_password_is_refused_and_not_told(make_server: MakeServer) -> None:
    server = make_server(password="right")
    error = failure(f"unix://:hunter2@{server.socket}")
    assert isinstance(error, ServerRefused)
    assert "hunter2" not in str(error)
    assert "Check user and password" in error.remedy


def test_a_missing_password_is_refused(make_server: MakeServer) -> None:
    assert isinstance(failure(f"unix://{make_server(password='right').socket}"), ServerRefused)


def test_a_user_without_rights_is_refused(make_server: MakeServer) -> None:
    server = make_server()
    with contextlib.closing(server.client()) as client:
        client.acl_setuser(
            "reader", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@read", "+info", "+client"]
        )
    error = failure(f"unix://reader:pw@{server.socket}")
    assert isinstance(error, ServerRefused)
    assert "the rights that deploy/redis-acl lists" in error.remedy


def test_a_replica_stores_nothing_and_says_where_to_go(make_server: MakeServer) -> None:
    error = failure(make_server("--replicaof", "127.0.0.1", "1").url)
    assert isinstance(error, ServerFull)
    assert "read-only replica" in error.message
    assert "primary" in error.remedy


def test_a_cluster_is_refused(make_server: MakeServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1] % 50_000 + 5000  # its bus has another 10,000 above
    error = failure(make_server("--cluster-enabled", "yes", "--bind", "127.0.0.1", "--port", str(port)).url)
    assert isinstance(error, ServerUnsuitable)
    assert "cannot be Celery's broker" in error.message


@for_each(
    ("url", "text"),
    [
        ("redis://user:pw@host:1/0", "redis://user:***@host:1/0"),
        ("redis://:p%40w@host:1/0", "redis://:***@host:1/0"),
        ("unix:///s?db=0&password=pw", "unix:///s"),
        ("redis://host:1/0", "redis://host:1/0"),
    ],
)
def test_a_password_is_never_shown(url: str, text: str) -> None:
    assert shown(url) == text


# Calls that outlive what passes


def test_a_blocking_call_survives_that_the_server_forgot_its_scripts(
    valkey: RealServer, valkey_url: str
) -> None:
    with (
        contextlib.closing(Server(lambda: valkey_url)) as server,
        contextlib.closing(valkey.client()) as client,
    ):
        assert server.run(READ) == [None]
        client.script_flush()
        assert server.run(READ) == [None]


def test_pipelines_survive_that_the_server_forgets_its_scripts_meanwhile(
    valkey: RealServer, valkey_url: str
) -> None:
    async def ask() -> list[Enqueued]:
        async with opened(valkey_url) as server:
            asked = asyncio.ensure_future(enqueue_many(server, 1000))
            with contextlib.closing(valkey.client()) as client:
                for _ in range(20):
                    client.script_flush()
                    await asyncio.sleep(0)
            return await asked

    done = asyncio.run(ask())
    assert [call.jobs for call in done] == [[("new", f"j{n}")] for n in range(1000)]


def test_calls_are_made_again_when_their_connections_are_cut(valkey: RealServer, valkey_url: str) -> None:
    """Each job is there once, although nobody knows which calls had been done when the reply was lost."""

    async def ask() -> list[Enqueued]:
        async with opened(valkey_url) as server:
            asked = asyncio.ensure_future(enqueue_many(server, 1000))
            with contextlib.closing(valkey.client()) as client:
                for _ in range(20):
                    client.client_kill_filter(_type="normal", skipme=True)
                    await asyncio.sleep(0)
            return await asked

    done = asyncio.run(ask())
    assert [call.jobs[0][1] for call in done] == [f"j{n}" for n in range(1000)]
    with contextlib.closing(valkey.client()) as client:
        assert client.hget("t:totals", "jobs") == b"1000"


def test_a_blocking_call_is_made_again_when_its_connection_is_cut(
    valkey: RealServer, valkey_url: str
) -> None:
    with (
        contextlib.closing(Server(lambda: valkey_url)) as server,
        contextlib.closing(valkey.client()) as client,
    ):
        for number in range(20):
            server.run(LEDGER.enqueue([enqueue(number)], backlog_jobs=100, backlog_bytes=1 << 20))
            client.client_kill_filter(_type="normal", skipme=True)
        assert client.hget("t:totals", "jobs") == b"20"


def test_a_call_that_was_sent_has_its_reply_later_and_its_connection_goes_back(
    valkey: RealServer, valkey_url: str
) -> None:
    with (
        contextlib.closing(valkey.client()) as admin,
        contextlib.closing(Server(lambda: valkey_url)) as server,
    ):
        others = len(admin.client_list())
        for status in ("new", "same", "same"):
            sent = server.send(LEDGER.enqueue([enqueue(1)], backlog_jobs=10, backlog_bytes=10_000))
            assert server.run(READ) == [None]  # on a connection of its own
            assert sent.reply().jobs == [(status, "j1")]
        assert len(admin.client_list()) == others + 2


def test_a_call_that_was_sent_is_made_again_when_its_reply_is_lost(
    valkey: RealServer, valkey_url: str
) -> None:
    with (
        contextlib.closing(valkey.client()) as admin,
        contextlib.closing(Server(lambda: valkey_url)) as server,
    ):
        sent = server.send(LEDGER.enqueue([enqueue(1)], backlog_jobs=10, backlog_bytes=10_000))
        admin.client_kill_filter(_type="normal", skipme=True)
        assert sent.reply().jobs in ([("new", "j1")], [("same", "j1")])
        assert server.run(LEDGER.read(["j1"])) != [None]


def test_of_a_call_whose_reply_nobody_reads_the_next_does_not_read_it(valkey_url: str) -> None:
    with contextlib.closing(Server(lambda: valkey_url)) as server:
        server.send(LEDGER.enqueue([enqueue(1)], backlog_jobs=10, backlog_bytes=10_000)).abandon()
        assert server.run(READ) == [None]


def test_a_call_that_was_sent_to_a_server_that_forgot_its_scripts_goes_through(
    valkey: RealServer, valkey_url: str
) -> None:
    with (
        contextlib.closing(valkey.client()) as admin,
        contextlib.closing(Server(lambda: valkey_url)) as server,
    ):
        server.run(READ)
        admin.script_flush()
        assert server.send(READ).reply() == [None]


def test_a_refusal_of_a_call_that_was_sent_is_told_with_its_remedy(make_server: MakeServer) -> None:
    full = make_server("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    with contextlib.closing(Server(lambda: full.url)) as server:
        server.run(READ)
        sent = server.send(LEDGER.enqueue([enqueue(1)], backlog_jobs=10, backlog_bytes=10_000))
        with pytest.raises(ServerFull, match="out of memory"):
            sent.reply()


def test_calls_go_on_when_the_server_was_killed_and_comes_back(make_server: MakeServer) -> None:
    process = make_server()

    async def ask() -> list[Enqueued]:
        async with opened(process.url) as server:
            process.kill()
            asked = asyncio.ensure_future(enqueue_many(server, 50))
            await asyncio.sleep(0.1)
            assert not asked.done()
            await asyncio.to_thread(process.start)
            return await asked

    assert [call.jobs for call in asyncio.run(ask())] == [[("new", f"j{n}")] for n in range(50)]


def test_the_embedded_server_is_looked_for_once_for_all_calls_that_wait(make_server: MakeServer) -> None:
    process = make_server()
    looked = 0

    def locate() -> str:
        nonlocal looked
        looked += 1
        if looked > 1:
            time.sleep(0.05)
            process.kill()
            process.start()
        return process.url

    async def ask() -> None:
        server = AsyncServer(locate)
        try:
            await server.run(READ)
            process.kill()
            await asyncio.gather(*(server.run(READ) for _ in range(100)))
        finally:
            await server.close()

    asyncio.run(ask())
    assert looked == 2


def test_a_blocking_call_goes_on_when_the_server_comes_back(make_server: MakeServer) -> None:
    process = make_server()
    with contextlib.closing(Server(lambda: process.url)) as server:
        server.run(READ)
        process.kill()
        back = threading.Timer(0.1, process.start)
        back.start()
        assert server.run(READ) == [None]
        back.join()


def test_patience_ends(make_server: MakeServer) -> None:
    process = make_server()

    async def ask() -> None:
        async with opened(process.url, patience_s=0.1) as server:
            process.kill()
            await server.run(READ)

    with pytest.raises(ServerUnreachable):
        asyncio.run(ask())


def test_the_patience_of_a_blocking_call_ends(make_server: MakeServer) -> None:
    process = make_server()
    with contextlib.closing(Server(lambda: process.url, patience_s=0.1)) as server:
        server.run(READ)
        process.kill()
        with pytest.raises(ServerUnreachable):
            server.run(READ)


def test_a_connection_that_breaks_while_a_call_is_written_is_made_anew(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop raises a RuntimeError then. Answers were lost by it, and a clock would not have ticked again."""
    breaks = 2
    write = redis.asyncio.Connection._send_packed_command

    async def break_and_write(self: redis.asyncio.Connection, command: object) -> None:
        nonlocal breaks
        if breaks:
            breaks -= 1
            self._writer.transport.abort()
            await asyncio.sleep(0.01)
        await write(self, command)

    async def ask() -> tuple[object, str]:
        nonlocal breaks
        async with opened(valkey_url) as server:
            monkeypatch.setattr(
                redis.asyncio.connection.AbstractConnection, "_send_packed_command", break_and_write
            )
            read = await server.run(READ)
            breaks = 1
            with pytest.raises(ServerUnreachable):
                await server.run_id()
            return read, await server.run_id()

    read, run_id = uvloop.run(ask())
    assert (read, breaks) == ([None], 0)
    assert run_id


REFUSALS = {
    "out of memory": ("maxmemory", "1", "0"),
    "without its replicas": ("min-replicas-to-write", "1", "0"),
}
"""A setting with which a server refuses writes, and with which it takes them again."""


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_call_with_endless_patience_waits_until_a_server_that_refuses_takes_it(
    make_server: MakeServer, refusal: str
) -> None:
    process = make_server()
    name, refuse, accept = REFUSALS[refusal]

    async def ask(client: redis.Redis) -> list[Enqueued]:
        async with opened(process.url) as server:
            client.config_set(name, refuse)
            call = LEDGER.enqueue([enqueue(1)], backlog_jobs=10, backlog_bytes=1 << 20)
            asked = asyncio.ensure_future(server.run(call, patience_s=math.inf))
            await asyncio.sleep(0.1)
            assert not asked.done()
            client.config_set(name, accept)
            return [await asked]

    with contextlib.closing(process.client()) as client:
        assert [call.jobs for call in asyncio.run(ask(client))] == [[("new", "j1")]]


@for_each(
    "text",
    [
        "NOREPLICAS Not enough good replicas to write. script: 1f, on @user_script:3.",
        "ERR Error running script (call to f_1f): @user_script: 3: -NOREPLICAS Not enough good replicas",
        "Error running script (call to f_1f): @user_script: 3: -OOM command not allowed when used memory",
        "Error running script (call to f_1f): @user_script: 3: -READONLY You can't write against a read",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    ],
)
def test_a_refusal_is_known_by_its_code_also_within_what_redis_6_2_tells_of_a_script(text: str) -> None:
    assert _is_refusal(redis.ResponseError(text))


@pytest.mark.parametrize(
    "text", ["WRONGTYPE Operation against a key holding the wrong kind of value", "unknown command 'ROOM'"]
)
def test_a_fault_of_ours_is_no_refusal_and_is_not_waited_out(text: str) -> None:
    assert not _is_refusal(redis.ResponseError(text))


@pytest.mark.parametrize("refusal", REFUSALS)
def test_whoever_has_not_endless_patience_is_told_at_once_that_the_server_refuses(
    make_server: MakeServer, refusal: str
) -> None:
    process = make_server()
    name, refuse, _ = REFUSALS[refusal]

    async def ask() -> None:
        async with opened(process.url, patience_s=3600) as server:
            with contextlib.closing(process.client()) as client:
                client.config_set(name, refuse)
            await server.run(LEDGER.enqueue([enqueue(1)], backlog_jobs=10, backlog_bytes=1 << 20))

    with pytest.raises(ServerFull):
        asyncio.run(ask())


def test_who_gives_up_waits_no_longer(make_server: MakeServer) -> None:
    process = make_server()

    async def ask() -> None:
        async with opened(process.url, patience_s=60) as server:
            process.kill()
            asked = asyncio.ensure_future(server.run(READ))
            await asyncio.sleep(0.05)
            server.give_up()
            await asked

    with pytest.raises(ServerUnreachable):
        asyncio.run(ask())


def test_a_call_that_its_caller_gave_up_does_not_disturb_the_others(valkey_url: str) -> None:
    async def ask() -> list[object]:
        async with opened(valkey_url) as server:
            asked = [asyncio.ensure_future(server.run(READ)) for _ in range(10)]
            await asyncio.sleep(0)
            asked[3].cancel()
            return list(await asyncio.gather(*asked, return_exceptions=True))

    done = asyncio.run(ask())
    assert isinstance(done.pop(3), asyncio.CancelledError)
    assert done == [[None]] * 9


def test_an_error_of_one_call_does_not_reach_the_others_of_its_pipeline(
    valkey: RealServer, valkey_url: str
) -> None:
    with contextlib.closing(valkey.client()) as client:
        client.set("t:job:broken", "not a hash")

    async def ask() -> list[object]:
        async with opened(valkey_url) as server:
            calls = [READ, LEDGER.cancel("broken"), READ]
            return list(await asyncio.gather(*(server.run(call) for call in calls), return_exceptions=True))

    first, broken, last = asyncio.run(ask())
    assert (first, last) == ([None], [None])
    assert isinstance(broken, ServerError)
    assert "WRONGTYPE" in broken.message


def test_calls_of_a_script_that_takes_many_are_made_as_few(valkey: RealServer, valkey_url: str) -> None:
    """And what goes wrong with one of them, in the middle, is its caller's alone."""
    with contextlib.closing(valkey.client()) as client:
        driver = LedgerDriver(client)
        driver.worker(slots=100)
        driver.add_many(41)
        jobs = driver.admit(most=100)
        client.hset(f"t:job:{jobs[7].job_id}", "flow", "no flow")

        async def ask() -> list[Begun | BaseException | None]:
            async with opened(valkey_url) as server:
                client.config_resetstat()
                calls = [driver.ledger.begin(job.job_id, job.token, job.worker) for job in jobs]
                return list(
                    await asyncio.gather(*(server.run(call) for call in calls), return_exceptions=True)
                )

        begun = asyncio.run(ask())
        made = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    broken = begun.pop(7)
    assert isinstance(broken, ServerError)
    assert "bad argument" in broken.message
    assert [one.request for one in begun if isinstance(one, Begun)] == [
        driver.entry().job.request(max_bytes=PLENTY)
    ] * 40
    assert made <= 2 * 3  # 41 by sixteens, and each again because the server did not know the script


def test_a_refusal_of_calls_that_were_made_as_one_reaches_each(make_server: MakeServer) -> None:
    server = make_server()
    with contextlib.closing(server.client()) as client:
        driver = LedgerDriver(client)
        driver.worker(slots=100)
        driver.add_many(3)
        calls = [driver.ledger.begin(job.job_id, job.token, job.worker) for job in driver.admit()]
        client.config_set("min-replicas-to-write", 1)

    async def ask() -> list[object]:
        async with opened(server.url) as asking:
            return list(await asyncio.gather(*(asking.run(call) for call in calls), return_exceptions=True))

    refusals = asyncio.run(ask())
    assert [type(refusal) for refusal in refusals] == [ServerFull] * 3
