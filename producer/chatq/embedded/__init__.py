"""The embedded server: a Valkey of our own for one folder, so that nobody has to install a Redis first.

    ensure_running(folder)   any number of processes at once; exactly one server results
    running_url(folder)      only looks
    stop(folder)             refused while others are connected

What makes it exactly one: whoever starts the server takes an exclusive flock on `server.lock` and *hands the
descriptor to the server*, which holds it until the kernel closes it. So the lock says whether a server lives,
after `kill -9` as well; no pid file is believed. (Two servers on one folder would take the socket from each
other, and both would append to one append-only file.)

The folder, which only its owner can enter:

    appendonlydir/    the data: an append-only file
    redis.sock        the server's socket, when its path is short and plain; else /tmp/chatq-UID/HASH.sock
    server.lock       held by the server as long as it lives; never deleted
    server.log        what the server says; one older file is kept as server.log.1
    server.pid        for people
    server.version    who wrote the data: an older server, or another make, may not be able to read it
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from chatq.embedded.address import foreign, is_free, socket_path
from chatq.embedded.errors import (
    DiskFull,
    EmbeddedServerError,
    FolderUnusable,
    NoServerProgram,
    NotReady,
    ServerInUse,
    SocketTaken,
    StartFailed,
)
from chatq.embedded.folder import existing, folder_lock, prepare
from chatq.embedded.launch import launch, start_failure
from chatq.embedded.log import trim_log

__all__ = [
    "DiskFull",
    "EmbeddedServerError",
    "FolderUnusable",
    "NoServerProgram",
    "NotReady",
    "ServerInUse",
    "SocketTaken",
    "StartFailed",
    "as_broker_url",
    "ensure_running",
    "running_url",
    "stop",
]

_POLL_S = 0.01
# What this module connects with; it does not count as a use of the server.
_CLIENT_NAME = "chatq-embedded"
# A client that has just ended is listed until the server has read its end of file.
_LEAVING_S = 0.5


def ensure_running(
    folder: Path,
    *,
    fsync: Literal["always", "everysec"] = "always",
    maxmemory: int | None = None,
    timeout_s: float = 10,
) -> str:
    """Return the URL (`unix:///...`, for redis-py) of the server of `folder`, started if there is none.

    The server outlives the caller: own session, no terminal, nothing of the environment but PATH. Only `stop`
    ends it.

    `fsync` and `maxmemory` (bytes) also apply to a server that runs already: of two `fsync` the stricter wins
    (to go from `always` to `everysec`, stop it first), of two explicit `maxmemory` the last. Default of
    `maxmemory`: half the memory of this machine or container, because the server forks to rewrite its file.
    `timeout_s` is the time without progress: a server that is reading a large file in is waited for.

    Raises FolderUnusable, DiskFull, NoServerProgram, StartFailed, SocketTaken, NotReady.
    """
    folder = prepare(folder)
    address = socket_path(folder)
    trim_log(folder)
    launched = False
    loaded_bytes = -1
    deadline = time.monotonic() + timeout_s
    with _client(address, timeout_s) as client:
        while True:
            try:
                _settle_settings(client, fsync, maxmemory, fresh=launched)
                return f"unix://{address}"
            except redis.exceptions.BusyLoadingError:
                progress = _loaded_bytes(client)
                if progress > loaded_bytes:
                    loaded_bytes, deadline = progress, time.monotonic() + timeout_s
            except redis.exceptions.ConnectionError:
                with folder_lock(folder) as lock:
                    if lock is not None and is_free(address):
                        if launched:
                            raise start_failure(folder) from None
                        launch(folder, address, lock, fsync=fsync, maxmemory=maxmemory)
                        launched = True
            except redis.exceptions.TimeoutError:
                pass  # suspended, or swapped out: the deadline decides
            except redis.exceptions.RedisError as error:
                raise foreign(address, f"answers {error}") from None
            if time.monotonic() > deadline:
                raise _not_ready(folder, address, f"did not answer within {timeout_s:g} s")
            time.sleep(_POLL_S)


def running_url(folder: Path) -> str | None:
    """Return the URL of the server of `folder`, None when there is none. Starts and creates nothing.

    A server that is still reading its data in counts as running.
    Raises FolderUnusable, SocketTaken, NotReady.
    """
    home = existing(folder)
    if home is None:
        return None
    address = socket_path(home)
    with _client(address, timeout_s=2) as client:
        try:
            client.ping()
        except redis.exceptions.BusyLoadingError:
            pass
        except redis.exceptions.ConnectionError:
            return None
        except redis.exceptions.TimeoutError:
            raise _not_ready(home, address, "does not answer") from None
        except redis.exceptions.RedisError as error:
            raise foreign(address, f"answers {error}") from None
    return f"unix://{address}"


def stop(folder: Path, *, force: bool = False, timeout_s: float = 10) -> bool:
    """Stop the server of `folder`; return True when its process is gone, False when there was none.

    Everything it acknowledged is on the disk then. `force`: also while others are connected.
    Raises ServerInUse, NotReady (it did not end in time), FolderUnusable, SocketTaken.
    """
    home = existing(folder)
    if home is None:
        return False
    address = socket_path(home)
    deadline = time.monotonic() + timeout_s
    stopping: str | None = None
    with _client(address, timeout_s) as client:
        while True:
            try:
                run_id = client.info("server")["run_id"]
                if stopping is None:
                    if not force:
                        _refuse_while_used(client, home)
                    stopping = run_id
                    client.execute_command("SHUTDOWN")
                elif run_id != stopping:
                    return True  # ours is gone; somebody has started the next one
            except redis.exceptions.ConnectionError:
                with folder_lock(home) as lock:
                    if lock is not None and is_free(address):
                        return stopping is not None
            except redis.exceptions.TimeoutError:
                pass
            except redis.exceptions.RedisError as error:
                if stopping is None:
                    raise foreign(address, f"answers {error}") from None
                raise _not_ready(home, address, f"refused to stop ({error})") from None
            if time.monotonic() > deadline:
                raise _not_ready(home, address, f"did not end within {timeout_s:g} s")
            time.sleep(_POLL_S)


def as_broker_url(url: str) -> str:
    """Return `url` in Celery's words: `unix:///PATH?db=N` becomes `redis+socket:///PATH?virtual_host=N`.

    Every other URL is returned as it is.
    """
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = dict(parse_qsl(parts.query))
    user = query.pop("username", unquote(parts.username or ""))
    password = query.pop("password", unquote(parts.password or ""))
    if "db" in query:
        query["virtual_host"] = query.pop("db")
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    return f"redis+socket://{login}{parts.path}" + (f"?{urlencode(query)}" if query else "")


def _client(address: Path, timeout_s: float) -> redis.Redis:
    # No retries of redis-py's own: the loops here tell "nobody there" from "does not answer".
    return redis.Redis(
        unix_socket_path=str(address),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        client_name=_CLIENT_NAME,
    )


def _settle_settings(client: redis.Redis, fsync: str, maxmemory: int | None, *, fresh: bool) -> None:
    """One round trip when the server is as asked; `fresh`: we have just started it."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.ping()  # a server that is still loading answers CONFIG, but not PING
        pipeline.config_get("appendfsync")
        pipeline.config_get("maxmemory")
        _, appendfsync, limit = pipeline.execute()
    if fsync == "always" and appendfsync["appendfsync"] != "always":
        client.config_set("appendfsync", "always")
    if maxmemory is not None and int(limit["maxmemory"]) != maxmemory:
        client.config_set("maxmemory", maxmemory)
    if fresh:
        # The start is worth a full log; after it, only warnings, so that a year's log stays small.
        client.config_set("loglevel", "warning")
        # A crash report shows the arguments of the command in hand, which may be a prompt. Servers before
        # Valkey 8 and Redis 7.4 do not know the setting.
        with contextlib.suppress(redis.exceptions.ResponseError):
            client.config_set("hide-user-data-from-log", "yes")


def _loaded_bytes(client: redis.Redis) -> int:
    try:
        return int(client.info("persistence").get("loading_loaded_bytes", 0))
    except redis.exceptions.RedisError:
        return -1


def _refuse_while_used(client: redis.Redis, folder: Path) -> None:
    """Nothing closes the gap to the SHUTDOWN after it; who connects in it sees a server that goes away."""
    deadline = time.monotonic() + _LEAVING_S
    while others := sum(entry["name"] != _CLIENT_NAME for entry in client.client_list()):
        if time.monotonic() > deadline:
            connections = "1 other connection" if others == 1 else f"{others} other connections"
            raise ServerInUse(
                f"The embedded server in {folder} is in use: {connections}.",
                remedy="Stop the workers and callers that use it first, or stop it regardless with --force.",
                clients=others,
            )
        time.sleep(_POLL_S)


def _not_ready(folder: Path, address: Path, what: str) -> EmbeddedServerError:
    with folder_lock(folder) as lock:
        if lock is not None and not is_free(address):
            return foreign(address, "is served by a program that does not hold this folder's lock")
    process = _peer_pid(address)
    if process is not None:
        return NotReady(
            f"The embedded server in {folder} (process {process}) {what}.",
            remedy=f"Try again; see {folder / 'server.log'}. If it hangs: kill -9 {process} (what it has "
            "acknowledged is safe).",
        )
    return NotReady(
        f"The embedded server in {folder} {what}: {folder / 'server.lock'} is held, but nobody can be "
        f"reached at {address}. It is starting, or runs in another container, or its socket was deleted.",
        remedy="Try again. If it stays so, kill the server where it was started; its process id is in "
        f"{folder / 'server.pid'} (what it has acknowledged is safe).",
    )


def _peer_pid(address: Path) -> int | None:
    """Return the process that listens at `address`, as the kernel knows it; None when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(1)
        try:
            peer.connect(str(address))
            # The process id comes first in Linux's struct ucred; macOS has it alone (LOCAL_PEERPID).
            level, option = (socket.SOL_SOCKET, socket.SO_PEERCRED) if sys.platform == "linux" else (0, 2)
            return int.from_bytes(peer.getsockopt(level, option, 4), sys.byteorder)
        except OSError:
            return None
