"""The server's password, which workers tell Celery, and Celery tells whoever asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from flower_process import FlowerProcess
from installation import Installation, until

from servers import RealServer

PASSWORD = "canary-password-8c1e"


@pytest.fixture
def server() -> Iterator[RealServer]:
    """A server on a Unix socket that asks for a password."""
    server = RealServer(password=PASSWORD).start()
    yield server
    server.remove()


@pytest.mark.thorough
def test_flower_shows_it_nowhere(server: RealServer, tmp_path: Path) -> None:
    url = f"redis+socket://:{PASSWORD}@{server.socket}"
    with (
        Installation(tmp_path, environ={"CHATQ_REDIS_URL": url}) as installation,
        FlowerProcess(installation, FLOWER_UNAUTHENTICATED_API="1") as flower,
    ):
        worker = installation.start_worker(wait=False)
        workers = until(
            lambda: json.loads(flower.text("/api/workers?refresh=1")), "the worker to answer Flower"
        )
        (name,) = workers
        assert f"-{worker.pid}-" in name
        assert workers[name]["stats"]["broker"]["hostname"] == f"redis+socket://:**@{server.socket}"
        pages = (
            "/workers",
            f"/worker/{name}",
            "/broker",
            "/tasks",
            "/metrics",
            "/api/workers",
            "/api/queues/length",
        )
        assert [page for page in pages if PASSWORD in flower.text(page)] == []
        assert PASSWORD not in worker.log
