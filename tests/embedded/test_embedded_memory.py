"""How much memory the server may count on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chatq.embedded.memory import available_memory

PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def system(tmp_path: Path) -> Path:
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def memory(system: Path) -> int:
    return available_memory(proc=system / "proc", cgroups=system / "cgroup")


def test_without_control_groups_it_is_the_physical_memory(system: Path) -> None:
    assert memory(system) == PHYSICAL


def test_a_limit_of_version_2_counts(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/user/chatq\n")
    write(system / "cgroup/user/chatq/memory.max", "1000000\n")

    assert memory(system) == 1_000_000


def test_the_limit_of_a_parent_counts_too(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/user/chatq\n")
    write(system / "cgroup/user/chatq/memory.max", "max\n")
    write(system / "cgroup/user/memory.max", "2000000\n")

    assert memory(system) == 2_000_000


def test_inside_a_container_only_the_root_is_there(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/docker/0123456789ab\n")
    write(system / "cgroup/memory.max", "3000000\n")

    assert memory(system) == 3_000_000


def test_a_limit_of_version_1_counts(system: Path) -> None:
    write(system / "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/jobs\n0::/\n")
    write(system / "cgroup/memory/jobs/memory.limit_in_bytes", "4000000\n")

    assert memory(system) == 4_000_000


def test_no_limit_is_larger_than_the_machine(system: Path) -> None:
    write(system / "proc/self/cgroup", "4:memory:/jobs\n")
    write(system / "cgroup/memory/jobs/memory.limit_in_bytes", "9223372036854771712\n")

    assert memory(system) == PHYSICAL
