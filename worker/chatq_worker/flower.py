"""Flower for this queue: on loopback unless told otherwise, with nothing of the working folder's."""

from __future__ import annotations

import ipaddress
import os

from chatq.contract.errors import ChatQueueError
from chatq.contract.settings import Settings
from chatq.ledger.locate import broker_url
from chatq_worker.app import make_app


class FlowerRefused(ChatQueueError):
    """Flower was asked to listen where anybody could reach it without logging in."""

    code = "flower_refused"


def run_flower(settings: Settings, *, address: str, port: int) -> int:
    """Run Flower until it is told to stop. Returns its exit code.

    Raises `FlowerRefused` for an address beyond loopback when no authentication is set (FLOWER_BASIC_AUTH or
    FLOWER_AUTH): Flower shows who uses what, and can cancel jobs.
    """
    if not _is_loopback(address) and not (
        os.environ.get("FLOWER_BASIC_AUTH") or os.environ.get("FLOWER_AUTH")
    ):
        raise FlowerRefused(
            f"Flower would listen on {address} for everybody.",
            remedy="Set FLOWER_BASIC_AUTH=user:password, or leave --address at 127.0.0.1.",
        )
    app = make_app(prefix=settings.redis.key_prefix, broker_url=broker_url(settings.redis))
    arguments = [
        "flower",
        f"--address={address}",
        f"--port={port}",
        "--conf=" + os.devnull,  # not a flowerconfig.py that happens to lie in the working folder
        "--persistent=False",
    ]
    app.start(argv=arguments)
    return 0


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
