"""Where the server's socket is: the same path for every process that asks, and nobody else's file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
import sys
from pathlib import Path

from chatq.embedded.errors import SocketTaken

# sockaddr_un.sun_path less its final NUL: 108 bytes on Linux, 104 on macOS and the BSDs.
MAXIMUM_BYTES = 107 if sys.platform == "linux" else 103
# redis-py and kombu decode percent signs in a socket's URL, Flower does not: a plain path suits all three.
_PLAIN = re.compile(r"[A-Za-z0-9/._-]+")
# Neither $TMPDIR nor $XDG_RUNTIME_DIR: processes of different environments must come to the same
# path, and XDG's is emptied at logout while the server lives on.
_RUNTIME_PARENT = Path("/tmp")  # noqa: S108  (what lies in it is checked for owner and mode)


def socket_path(folder: Path) -> Path:
    """Return the socket's path for the resolved `folder`: in it when short and plain, else in /tmp/chatq-UID.

    Raises SocketTaken when the runtime directory is not ours, or its path is too long as well.
    """
    inside = folder / "redis.sock"
    if _fits(inside) and _PLAIN.fullmatch(str(inside)):
        return inside
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    outside = _runtime_directory() / f"{name}.sock"
    if not _fits(outside):
        raise SocketTaken(
            f"The path of the embedded server's socket, {outside}, is longer than {MAXIMUM_BYTES} bytes, "
            "the most that this system takes.",
            remedy="Name a folder with a short path (redis.url: embedded:FOLDER).",
        )
    return outside


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAXIMUM_BYTES


def _runtime_directory() -> Path:
    """Everybody may create names in /tmp: believe only a real directory, ours, closed to all others."""
    directory = _RUNTIME_PARENT.resolve() / f"chatq-{os.geteuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
    except OSError as error:
        raise _unsafe(directory, f"cannot be made: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise _unsafe(directory, "is not a directory")
    if found.st_uid != os.geteuid():
        raise _unsafe(directory, f"belongs to user id {found.st_uid}")
    if found.st_mode & 0o077:
        raise _unsafe(directory, f"is open to other users (mode {stat.S_IMODE(found.st_mode):03o})")
    return directory


def _unsafe(directory: Path, reason: str) -> SocketTaken:
    return SocketTaken(
        f"{directory}, the directory for sockets of folders with long or unusual paths, {reason}.",
        remedy="Remove it; or name a folder with a short path of plain letters (redis.url: embedded:FOLDER): "
        "then the socket is in the folder itself.",
    )


def is_free(address: Path) -> bool:
    """With the folder's lock held: make room for a new socket. False: somebody accepts connections there.

    That is a server whose lock the kernel has just freed, or a stranger: ask again, with the lock given back.
    Raises SocketTaken for anything that is not a socket.
    """
    try:
        if not stat.S_ISSOCK(address.lstat().st_mode):
            raise foreign(address, "is not a socket")
    except FileNotFoundError:
        return True
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(address))
        except ConnectionRefusedError:
            address.unlink(missing_ok=True)  # left behind by kill -9
            return True
        except OSError:
            return False
    return False


def foreign(address: Path, reason: str) -> SocketTaken:
    return SocketTaken(
        f"Another program's file is where the embedded server's socket belongs: {address} {reason}.",
        remedy="Stop that program and remove its file, or name another folder (redis.url: embedded:FOLDER).",
    )
