"""Link: a TCP proxy between two real processes that can be slow, cut, silent or away. It knows bytes only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from threading import Thread
from typing import Self

CHUNK = 65_536


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class LoopThread:
    """An event loop in a thread of its own, for proxies beside blocking tests."""

    def __enter__(self) -> Self:
        self._servers: list[asyncio.Server] = []
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def run(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run something there, and wait for it."""

        async def running() -> None:
            await work()

        asyncio.run_coroutine_threadsafe(running(), self.loop).result(30)

    def listen(self, handler: Handler) -> int:
        """Serve there until the end; the port."""

        async def listening() -> int:
            server = await asyncio.start_server(handler, "127.0.0.1", 0)
            self._servers.append(server)
            port: int = server.sockets[0].getsockname()[1]
            return port

        return asyncio.run_coroutine_threadsafe(listening(), self.loop).result(30)

    async def _cancel_all(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was aborted is closed now


class Link:
    """A way to a port. Everything done to it may be done from any thread.

    Attributes:
        latency_seconds: what every piece of data takes longer, in either direction.
        cuts: how many connections were cut.
        held: how many pieces of data had to wait until the link came back.
    """

    def __init__(self, thread: LoopThread, target: int) -> None:
        self.target = target
        self.latency_seconds = 0.0
        self.cuts = 0
        self.held = 0
        self.port = 0
        self._thread = thread
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._silenced: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.port = self._thread.listen(self._connected)

    def cut(self) -> None:
        """Reset every connection now."""
        self._thread.run(self._cut)

    def silence(self) -> None:
        """Half open: connections that exist seem alive, and carry nothing any more; new ones work."""
        self._thread.run(self._silence)

    def go_away(self) -> None:
        """Nothing passes until it comes back; then all that was sent meanwhile does."""
        self._thread.loop.call_soon_threadsafe(self._open.clear)

    def come_back(self) -> None:
        self._thread.loop.call_soon_threadsafe(self._open.set)

    async def _cut(self) -> None:
        self.cuts += len(self._writers) // 2
        for writer in self._writers:
            writer.transport.abort()

    async def _silence(self) -> None:
        self.cuts += len(self._writers - self._silenced) // 2
        self._silenced |= self._writers

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            beyond_reader, beyond = await asyncio.open_connection("127.0.0.1", self.target)
            ends.add(beyond)
            self._writers |= ends
            async with asyncio.TaskGroup() as pumping:
                pumping.create_task(self._pump(reader, beyond))
                pumping.create_task(self._pump(beyond_reader, writer))
        except OSError:
            pass  # there is nobody beyond
        finally:
            self._writers -= ends
            self._silenced -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end closes: then both are closed."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                self.held += not self._open.is_set()
                await asyncio.sleep(self.latency_seconds)
                await self._open.wait()
                if writer not in self._silenced:
                    writer.write(data)
                    await writer.drain()
        writer.close()
