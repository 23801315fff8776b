"""How a person types our command here: for hints that can be copied as they are."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path


def own_command() -> str:
    """`chatq` when the shell finds this installation's by that name, else a path from the working folder."""
    ours = Path(sys.executable).with_name("chatq")
    found = shutil.which("chatq")
    if found is not None and Path(found).resolve() == ours.resolve():
        return "chatq"
    near = os.path.relpath(ours)
    return shlex.quote(str(ours) if near.startswith("..") else near)
