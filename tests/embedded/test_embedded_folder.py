"""The folder: whose it is, who can read it, and what cannot be one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from embedded_testing import MakeFolder, python, tool

from chatq import embedded

NOBODY = 65534
PRINT_THE_ERROR = """
import sys
from pathlib import Path
from chatq import embedded
try:
    embedded.ensure_running(Path(sys.argv[1]))
except embedded.EmbeddedServerError as error:
    print(type(error).__name__)
    print(error.message)
else:
    embedded.stop(Path(sys.argv[1]))
"""


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def error_with_mount(folder: Path, *options: str) -> list[str]:
    """What a process says that sees another file system at `folder`, mounted without privileges."""
    unshare, mount = tool("unshare"), tool("mount")
    if unshare is None or mount is None or subprocess.run([unshare, "-Urm", "/bin/sh", "-c", ":"]).returncode:
        pytest.skip("this machine lets no user mount anything")
    folder.mkdir(mode=0o700)
    script = f'{mount} -t tmpfs {" ".join(options)} none "$1" && exec "$0" -c "$2" "$1"'
    shown = subprocess.run(
        [unshare, "-Urm", "/bin/sh", "-c", script, sys.executable, folder, PRINT_THE_ERROR],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.splitlines()


def test_a_new_folder_and_all_in_it_are_the_owners_alone_whatever_the_umask(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder("new", at=tmp_path / "parent")
    before = os.umask(0)
    try:
        embedded.ensure_running(folder)
    finally:
        os.umask(before)

    everything = [folder, *folder.rglob("*")]
    assert {path.name for path in everything} >= {"new", "server.log", "server.lock", "appendonlydir"}
    assert {path.name: oct(mode(path)) for path in everything if mode(path) & 0o077} == {}


def test_a_new_folder_is_kept_out_of_git(folder: Path) -> None:
    embedded.ensure_running(folder)

    assert (folder / ".gitignore").read_text() == "*\n"


def test_an_empty_folder_that_others_can_enter_is_closed_to_them(folder: Path) -> None:
    folder.mkdir(mode=0o755)

    embedded.ensure_running(folder)

    assert mode(folder) == 0o700


def test_a_servers_folder_that_was_opened_to_others_is_closed_again(folder: Path) -> None:
    embedded.ensure_running(folder)
    folder.chmod(0o755)

    embedded.running_url(folder)

    assert mode(folder) == 0o700


def test_a_shared_folder_with_other_files_is_refused_and_left_as_it_was(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "theirs.txt").write_text("shared")

    with pytest.raises(embedded.FolderUnusable) as caught:
        embedded.ensure_running(folder)

    assert caught.value.message.startswith(
        f"Other users may enter the embedded server's folder {folder} (mode 755)"
    )
    assert f"redis.url: embedded:{folder}/chatq" in caught.value.remedy
    assert mode(folder) == 0o755
    assert [path.name for path in folder.iterdir()] == ["theirs.txt"]


def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    if os.geteuid() == 0:
        folder.mkdir(mode=0o700)
        os.chown(folder, NOBODY, NOBODY)
        owner = NOBODY
    else:
        folder, owner = Path("/"), 0

    with pytest.raises(
        embedded.FolderUnusable, match=f"belongs to user id {owner}, but this process runs as"
    ):
        embedded.ensure_running(folder)


def test_a_file_in_place_of_the_folder_is_refused_and_left_as_it_was(folder: Path) -> None:
    folder.write_text("notes")

    with pytest.raises(embedded.FolderUnusable, match="but it is a file") as caught:
        embedded.ensure_running(folder)

    assert "Move it away" in caught.value.remedy
    assert folder.read_text() == "notes"


def test_a_file_in_place_of_a_parent_is_named(folder: Path) -> None:
    folder.write_text("notes")

    with pytest.raises(embedded.FolderUnusable, match="a file is in the way"):
        embedded.ensure_running(folder / "below")


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    root = os.geteuid() == 0
    if root:  # root may write everywhere
        os.seteuid(NOBODY)
    try:
        with pytest.raises(
            embedded.FolderUnusable, match=r"cannot be written by user id .*Permission denied"
        ):
            embedded.ensure_running(closed / "queue")
    finally:
        if root:
            os.seteuid(0)


def test_looking_into_a_closed_folder_says_so_too(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        for look in (embedded.running_url, embedded.stop):
            with pytest.raises(embedded.FolderUnusable, match="Permission denied"):
                look(closed / "queue")
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_file_system_is_refused(folder: Path) -> None:
    name, message = error_with_mount(folder, "-o", "ro,mode=700")

    assert name == "FolderUnusable"
    assert message.startswith(f"The embedded server's folder {folder} is on a read-only file system")


def test_a_disk_with_no_room_left_is_refused(folder: Path) -> None:
    name, message = error_with_mount(folder, "-o", "size=4m,mode=700")

    assert name == "DiskFull"
    assert message == (
        f"The disk of the embedded server's folder {folder} is full (4 MiB left, 16 MiB needed to start)."
    )


@pytest.mark.thorough
def test_a_child_forked_while_a_server_starts_does_not_keep_the_lock(folder: Path) -> None:
    fork_with_the_lock = python(
        """
import os, sys
from pathlib import Path
from chatq.embedded.folder import folder_lock
folder = Path(sys.argv[1])
folder.mkdir()
reader, writer = os.pipe()
forked, tell = os.pipe()
with folder_lock(folder) as ours:
    assert ours is not None
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.write(tell, b".")
        os.read(reader, 1)
        os._exit(0)
os.read(forked, 1)
with folder_lock(folder) as again:
    print("free" if again is not None else "held by the child")
os.close(writer)
os.waitpid(child, 0)
""",
        folder,
    )

    assert fork_with_the_lock.communicate()[0] == "free\n"
