"""Link: a TCP proxy whose traffic can be held up, or cut, for a while."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

from anyio.from_thread import start_blocking_portal


class Link:
    """Between a client and a service on this machine; it runs in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._portal.call(self._open)
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.call(self._close)
        self._stack.close()

    def hold(self) -> None:
        """Nothing passes any more; connections stay."""
        self._portal.call(self._passing.clear)

    def let_pass(self) -> None:
        """Everything passes, and what was held up first."""
        self._portal.call(self._passing.set)

    def cut(self) -> None:
        """Every connection ends at once."""
        self._portal.call(self._cut)

    async def _open(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        further_reader, further_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, further_writer]
        for pump in (self._pump(reader, further_writer), self._pump(further_reader, writer)):
            task = asyncio.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        self._passing.set()
        if self._pumps:
            await asyncio.wait(self._pumps)
