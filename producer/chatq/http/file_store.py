"""Files on the front's disk: each a file of bytes, and beside it what is known of it.

Ids begin with the moment at which they were made, so their order is that of time. A file is there once what is known of
it stands on the disk, after its bytes; what an upload left that broke off is swept away.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from chatq.http.access import Caller
from chatq.http.errors import DiskFull, NotFound

_ID: Final = re.compile(r"file-[0-9a-f]{28}")
_UNFINISHED: Final = "upload-"
_ABANDONED_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file. Moments are seconds since 1970."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    tenant: str | None = None
    expires_at: int | None = None

    def shape(self) -> dict[str, Any]:
        """As OpenAI's API tells it."""
        data = {"object": "file", "status": "processed", **asdict(self)}
        del data["tenant"]
        return data


def new_id(kind: str) -> str:
    """An id whose order is that of time."""
    return f"{kind}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


class FileStore:
    """The files below one folder. Blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "files"
        make_folder(self._folder)

    def sweep(self) -> None:
        """Remove what broken-off uploads left a day ago, and files whose time is over."""
        for path in self._folder.glob(f"{_UNFINISHED}*"):
            if time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)
        for file_id in self._ids():
            self._get(file_id)

    @contextmanager
    def writing(self) -> Iterator[tuple[Path, BinaryIO]]:
        """A place for bytes that are to become a file by `keep`. Raises `DiskFull`."""
        path = self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
        try:
            with disk_errors(), path.open("xb") as file:
                yield path, file
        finally:
            path.unlink(missing_ok=True)

    def keep(
        self,
        path: Path,
        *,
        filename: str,
        purpose: str,
        tenant: str | None = None,
        expires_after_s: int | None = None,
        file_id: str | None = None,
    ) -> StoredFile:
        """Make a file of what was written at `path`. Raises `DiskFull`."""
        now = int(time.time())
        stored = StoredFile(
            id=file_id or new_id("file-"),
            bytes=path.stat().st_size,
            created_at=now,
            filename=filename,
            purpose=purpose,
            tenant=tenant,
            expires_at=None if expires_after_s is None else now + expires_after_s,
        )
        with disk_errors():
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self._folder / stored.id)
            write_json(self._about(stored.id), asdict(stored))
        return stored

    def get(self, file_id: str, caller: Caller) -> StoredFile:
        """Raises `NotFound`, also for a file that is not the caller's."""
        stored = self._get(file_id) if _ID.fullmatch(file_id) else None
        if stored is None or not caller.owns(stored.tenant):
            raise _no_file(file_id)
        return stored

    def open(self, stored: StoredFile) -> BinaryIO:
        """The bytes of a file; they stay while they are read. Raises `NotFound` when it is deleted by now."""
        try:
            return self.path(stored.id).open("rb")
        except FileNotFoundError:
            raise _no_file(stored.id) from None

    def path(self, file_id: str) -> Path:
        """Where the bytes of a file are."""
        return self._folder / file_id

    def delete(self, file_id: str) -> None:
        """Forget a file. A batch that has begun keeps its input."""
        self._about(file_id).unlink(missing_ok=True)
        self.path(file_id).unlink(missing_ok=True)

    def page(
        self, caller: Caller, *, after: str | None, limit: int, newest_first: bool, purpose: str | None
    ) -> tuple[list[StoredFile], bool]:
        """Files in the order of time from behind `after` on, and whether there are more."""
        found: list[StoredFile] = []
        for file_id in in_pages(self._ids(), after, newest_first=newest_first):
            stored = self._get(file_id)
            if stored is None or not caller.owns(stored.tenant) or purpose not in (None, stored.purpose):
                continue
            if len(found) == limit:
                return found, True
            found.append(stored)
        return found, False

    def _ids(self) -> list[str]:
        return sorted(path.stem for path in self._folder.glob("file-*.json"))

    def _about(self, file_id: str) -> Path:
        return self._folder / f"{file_id}.json"

    def _get(self, file_id: str) -> StoredFile | None:
        data = read_json_file(self._about(file_id))
        if data is None:
            return None
        stored = StoredFile(**data)
        if stored.expires_at is not None and stored.expires_at <= time.time():
            self.delete(file_id)
            return None
        return stored


def _no_file(file_id: str) -> NotFound:
    return NotFound(f"There is no file {file_id!r:.80}.", remedy="Check the id.")


def in_pages(ids: list[str], after: str | None, *, newest_first: bool) -> Iterator[str]:
    """Ids in order of time, from behind `after` on."""
    for one in reversed(ids) if newest_first else ids:
        if after is None or (one < after if newest_first else one > after):
            yield one


def make_folder(folder: Path) -> None:
    """Make a folder that nobody else may look into, and what is missing above it; or close one that is there to others.

    Raises `OSError`.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def read_json_file(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None when there is no such file."""
    try:
        data: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return data


def write_json(path: Path, data: Any) -> None:
    """Replace a file whole, and make sure that it is on the disk."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    with new.open("wb") as file:
        file.write(orjson.dumps(data))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Tells of a full disk in our words. Raises `DiskFull`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            "The disk of the HTTP front is full.",
            remedy="Delete files that are no longer needed (DELETE /v1/files/{id}), or make room in http.folder.",
        ) from None
