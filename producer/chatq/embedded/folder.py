"""The folder of an embedded server: private to its owner, locked while a server lives."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from chatq.embedded.errors import DiskFull, EmbeddedServerError, FolderUnusable

# With `appendfsync always` a server that cannot write ends itself: better not to start it on a full disk.
MINIMUM_FREE_MIB = 16

_ANOTHER_FOLDER = "name another folder (redis.url: embedded:FOLDER)."
_open_locks: set[int] = set()


def _resolve(folder: Path) -> Path:
    """Return one path for one folder, whatever links lead to it: the socket's name is made of it."""
    return folder.expanduser().resolve()


def prepare(folder: Path) -> Path:
    """Create `folder` (mode 700; its parents as usual) or check the one that is there; return it resolved."""
    folder = _resolve(folder)
    try:
        try:
            folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            pass
        else:
            # It often lies in a project's directory, and it will hold prompts.
            ignored = folder / ".gitignore"
            ignored.touch(mode=0o600)
            ignored.write_text("*\n")
        _check_private(folder)
    except OSError as error:
        raise folder_error(folder, error) from None
    return folder


def existing(folder: Path) -> Path | None:
    """Return `folder` resolved and checked; None when it does not exist. Creates nothing."""
    folder = _resolve(folder)
    try:
        _check_private(folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise folder_error(folder, error) from None
    return folder


def _check_private(folder: Path) -> None:
    """Raise FolderUnusable unless `folder` is ours alone: the server has no password, the folder is its lock.

    One that others can enter is tightened to mode 700 only when it is empty or has been a server's before:
    `embedded:/srv/shared` must not lock other people out of their files.
    """
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise FolderUnusable(
            f"{folder} should be the embedded server's folder, but it is a file.",
            remedy=f"Move it away, or {_ANOTHER_FOLDER}",
        )
    if found.st_uid != os.geteuid():
        raise FolderUnusable(
            f"The embedded server's folder {folder} belongs to user id {found.st_uid}, but this process runs "
            f"as user id {os.geteuid()}; all its files must have one owner.",
            remedy=f"Run chatq as the folder's owner, or {_ANOTHER_FOLDER}",
        )
    if not _others_may_enter(found):
        return
    if (folder / "server.lock").exists() or not any(folder.iterdir()):
        folder.chmod(0o700)
        if not _others_may_enter(folder.stat()):
            return
    raise FolderUnusable(
        f"Other users may enter the embedded server's folder {folder} (mode {found.st_mode & 0o777:o}); it "
        "will hold prompts and answers, so it must be its owner's alone (mode 700).",
        remedy=f"Name a folder inside it (redis.url: embedded:{folder / 'chatq'}); or, if nobody else uses "
        f"this one: chmod 700 '{folder}'",
    )


def _others_may_enter(found: os.stat_result) -> bool:
    return bool(found.st_mode & 0o077)


def check_room(folder: Path) -> None:
    """Raise DiskFull when less than `MINIMUM_FREE_MIB` is free for `folder`."""
    free_mib = shutil.disk_usage(folder).free / 1024**2
    if free_mib < MINIMUM_FREE_MIB:
        raise disk_full(folder, f"{free_mib:.0f} MiB left, {MINIMUM_FREE_MIB} MiB needed to start")


def disk_full(folder: Path, detail: str) -> DiskFull:
    return DiskFull(
        f"The disk of the embedded server's folder {folder} is full ({detail}).",
        remedy=f"Make room there (what the server has acknowledged is safe), or {_ANOTHER_FOLDER}",
    )


def folder_error(folder: Path, error: OSError) -> EmbeddedServerError:
    """Turn what the system said about `folder`, or a file in it, into an error with a remedy."""
    what = f"The embedded server's folder {folder}"
    reason = f"{error.filename or folder}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(folder, reason)
    if error.errno == errno.EROFS:
        return FolderUnusable(
            f"{what} is on a read-only file system ({reason}).",
            remedy=f"Mount it for writing, or {_ANOTHER_FOLDER}",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return FolderUnusable(
            f"{what} cannot be written by user id {os.geteuid()} ({reason}).",
            remedy=f"Give this user the right to write there, or {_ANOTHER_FOLDER}",
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return FolderUnusable(
            f"{what} cannot be made: a file is in the way ({reason}).",
            remedy=f"Move it away, or {_ANOTHER_FOLDER}",
        )
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
        return FolderUnusable(
            f"{what} is on a file system without file locks ({reason}).",
            remedy=f"To put it on a local disk, {_ANOTHER_FOLDER}",
        )
    return FolderUnusable(f"{what} cannot be used ({reason}).", remedy=f"Mend that, or {_ANOTHER_FOLDER}")


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[int | None]:
    """Try the lock of `folder`, without waiting: its descriptor, or None when a server lives or is starting.

    Leaving closes our descriptor and does not unlock, so a server that inherited it goes on holding the lock.
    """
    descriptor = -1
    try:
        # Not O_TRUNC, never unlinked: two processes must never lock two files of one name.
        descriptor = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        _open_locks.add(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = True
    except BlockingIOError:
        locked = False
    except OSError as error:
        _close(descriptor)
        raise folder_error(folder, error) from None
    try:
        yield descriptor if locked else None
    finally:
        _close(descriptor)


def _close(descriptor: int) -> None:
    if descriptor in _open_locks:
        _open_locks.discard(descriptor)
        os.close(descriptor)


def _close_in_forked_child() -> None:
    """A child forked by another thread, just then, would hold the lock after the server has died."""
    for descriptor in tuple(_open_locks):
        _close(descriptor)


os.register_at_fork(after_in_child=_close_in_forked_child)
