"""How much memory this process may count on: the machine's, or its container's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return bytes: the smallest of the physical memory and the limits of all control groups we are in.

    Source: cgroups(7). Version 2 has one tree (`memory.max`, a number or "max"), version 1 one for memory
    (`memory/.../memory.limit_in_bytes`). A limit of a parent binds too, so the path is walked up to its root;
    inside a container only that root may be there.
    """
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_group_limits(proc, cgroups)])


def _group_limits(proc: Path, cgroups: Path) -> Iterator[int]:
    try:
        memberships = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return  # not Linux
    for membership in memberships:
        _, controllers, group = membership.split(":", 2)
        if controllers == "":
            root, file_name = cgroups, "memory.max"
        elif "memory" in controllers.split(","):
            root, file_name = cgroups / "memory", "memory.limit_in_bytes"
        else:
            continue
        inside = root / group.lstrip("/")
        for directory in (inside, *inside.parents):
            try:
                text = (directory / file_name).read_text().strip()
            except OSError:
                text = "max"
            if text.isdecimal():
                yield int(text)
            if directory == root:
                break
