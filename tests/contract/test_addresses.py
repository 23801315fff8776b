"""What an address says of the network that leads to it."""

from __future__ import annotations

from chatq.contract.addresses import is_loopback, is_public
from for_each import for_each


@for_each("host", ["localhost", "LocalHost", "127.0.0.1", "127.8.0.2", "::1", "[::1]"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)
    assert not is_public(host)


@for_each(
    "host",
    [
        "redis",
        "10.0.0.7",
        "192.168.1.9",
        "[fd00::1]",
        "box.local",
        "vllm.models.svc",
        "a.internal",
        "0.0.0.0",
        "*",
    ],
)
def test_a_network_of_ones_own(host: str) -> None:
    assert not is_loopback(host)
    assert not is_public(host)


@for_each(
    "host", ["api.example.com", "API.example.com.", "8.8.8.8", "[2606:4700::1111]", "localhost.example.com"]
)
def test_a_network_of_strangers(host: str) -> None:
    assert not is_loopback(host)
    assert is_public(host)
