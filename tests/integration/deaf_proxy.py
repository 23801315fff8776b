"""A proxy before a server, which can make a consumer deaf: its connection stays open, and no reply comes through it.

What a half-open connection looks like after a firewall has forgotten it, or a switch was replaced.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Self


class DeafProxy:
    """Listens on a free TCP port of 127.0.0.1 within its `with` block, before the server at a Unix socket."""

    def __init__(self, server_socket: Path) -> None:
        self._server_socket = server_socket
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._deaf: set[asyncio.StreamWriter] = set()
        self._consumers: set[asyncio.StreamWriter] = set()
        self._deafens = False
        self._open = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def deafen(self) -> None:
        """Nothing comes any more through what waits for messages now, nor, until `relent`, through new connections."""
        self._deafens = True
        self._deaf |= self._consumers

    def relent(self) -> None:
        """Connections that are made from now on work."""
        self._deafens = False

    async def _serve(self) -> None:
        self._loop, self._end, self._idle = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        listener = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._port = int(listener.sockets[0].getsockname()[1])
        self._ready.set()
        await self._end.wait()
        listener.close()
        await self._idle.wait()

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._open += 1
        self._idle.clear()
        server, to_server = await asyncio.open_unix_connection(self._server_socket)
        there = asyncio.create_task(self._pass_on(client, to_server, to_client))
        back = asyncio.create_task(self._pass_on(server, to_client, to_client))
        ends = asyncio.create_task(self._end.wait())
        await asyncio.wait([there, back, ends], return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back, ends):
            task.cancel()
        for writer in (to_client, to_server):
            writer.transport.abort()
        self._open -= 1
        if not self._open:
            self._idle.set()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_client: asyncio.StreamWriter
    ) -> None:
        try:
            while data := await reader.read(1 << 16):
                if b"BRPOP" in data and writer is not to_client:
                    self._consumers.add(to_client)
                    if self._deafens:
                        self._deaf.add(to_client)
                if writer is to_client and to_client in self._deaf:
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # one of the two has hung up
