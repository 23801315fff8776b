"""What a user types in the first five minutes is importable from `chatq`, and importing it stays light."""

from __future__ import annotations

import subprocess
import sys

import chatq


def test_the_public_list_is_what_is_there() -> None:
    assert chatq.__all__ == sorted(chatq.__all__)
    assert all(hasattr(chatq, name) for name in chatq.__all__)


def test_importing_chatq_loads_nothing_heavy_before_it_is_used() -> None:
    heavy = "celery", "kombu", "flower", "tornado", "httpx", "aiohttp", "uvloop", "yaml", "pydantic", "redis"
    program = f"import chatq, sys; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
