"""Whether a worker of this machine is alive, as a container's health check asks."""

from __future__ import annotations

import contextlib
import socket

import pytest

from chatq.contract.errors import NoWorker
from chatq.contract.settings import Settings
from chatq.ledger.ledger import Ledger
from chatq.ledger.server import Server
from chatq_worker.health import check_health
from servers import RealServer


def test_a_worker_is_healthy_until_its_lease_is_over_also_when_no_other_takes_it_away(
    valkey: RealServer, valkey_url: str
) -> None:
    settings = Settings.model_validate({"redis": {"url": valkey_url}})
    ledger = Ledger(settings.redis.key_prefix)
    with contextlib.closing(Server(lambda: valkey_url)) as server, valkey.client() as client:
        facts = {"host": socket.gethostname()}
        server.run(ledger.renew("w1", lease_s=30, slots=1, facts=facts, registered=False))
        check_health(settings)
        client.set(ledger.keys.clock_offset, 30_000)
        with pytest.raises(NoWorker, match=f"No worker of {socket.gethostname()} holds a lease"):
            check_health(settings)
