"""A server that is far away: a proxy on loopback that hands everything on late, in both directions.

It delays what passes and holds nothing else up: what is sent together arrives together.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection

import uvloop


@contextlib.contextmanager
def delaying_proxy(socket_path: str, round_trip_s: float) -> Iterator[int]:
    """A TCP port on loopback that leads to a Unix socket. In a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(socket_path, round_trip_s / 2, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def _run(socket_path: str, delay_s: float, report: Connection) -> None:
    uvloop.run(_serve(socket_path, delay_s, report))


async def _serve(socket_path: str, delay_s: float, report: Connection) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(socket_path)
        await asyncio.gather(_pass_on(reader, back, delay_s), _pass_on(there, writer, delay_s))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=4096)
    report.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            loop.call_later(delay_s, target.write, data)
    loop.call_later(delay_s, target.close)
