"""HTTP/1.1 as clients really use it: keep-alive, pipelining, pieces, and what is not HTTP."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import orjson
from simulator_testing import KEY

from chatq_sandbox.process import SimulatorProcess


def opened(simulator: SimulatorProcess) -> socket.socket:
    place = urlsplit(simulator.url)
    return socket.create_connection((place.hostname or "", place.port or 0), timeout=20)


def request(prompt: str, *headers: str) -> bytes:
    body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]})
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: simulator",
        f"Authorization: Bearer {KEY}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answers(connected: socket.socket, count: int) -> list[str]:
    """The texts of so many answers, in the order in which they came."""
    reader = connected.makefile("rb")
    texts = []
    for _ in range(count):
        length = 0
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        texts.append(orjson.loads(reader.read(length))["choices"][0]["message"]["content"])
    return texts


def test_a_connection_serves_one_request_after_the_other(simulator: SimulatorProcess) -> None:
    with opened(simulator) as connected:
        for name in ("one", "two"):
            connected.sendall(request(f"job:{name} [sim: say {name}]"))
            assert answers(connected, 1) == [name]


def test_pipelined_requests_are_answered_in_their_order_also_when_the_first_is_slow(
    simulator: SimulatorProcess,
) -> None:
    with opened(simulator) as connected:
        slow, quick, last = (
            request(f"[sim: say {name}; latency {latency}]")
            for name, latency in (("slow", 0.1), ("quick", 0), ("last", 0.01))
        )
        connected.sendall(slow + quick + last)
        assert answers(connected, 3) == ["slow", "quick", "last"]


def test_a_request_may_come_in_pieces_of_any_size(simulator: SimulatorProcess) -> None:
    whole = request("[sim: say pieces]")
    with opened(simulator) as connected:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(whole), 7):
            connected.sendall(whole[start : start + 7])
        assert answers(connected, 1) == ["pieces"]


def test_connection_close_is_honoured(simulator: SimulatorProcess) -> None:
    with opened(simulator) as connected:
        connected.sendall(request("[sim: say bye]", "Connection: close"))
        assert answers(connected, 1) == ["bye"]
        assert connected.recv(1) == b""


def test_who_expects_100_continue_is_told_to_go_on(simulator: SimulatorProcess) -> None:
    head, _, body = request("[sim: say on]", "Expect: 100-continue").partition(b"\r\n\r\n")
    with opened(simulator) as connected:
        connected.sendall(head + b"\r\n\r\n")
        assert connected.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connected.sendall(body)
        assert answers(connected, 1) == ["on"]


def test_what_is_not_http_is_told_so_and_closed(simulator: SimulatorProcess) -> None:
    with opened(simulator) as connected:
        connected.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert connected.recv(1000).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert connected.recv(1) == b""
