"""Relay: an HTTP proxy that loses answers, repeats requests, delivers them late, and hops among replicas."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.faults.link import LoopThread

LATE_SECONDS = 0.3
"""A copy or a late request comes within this: after the step that follows it, and the one after that."""


@dataclass(frozen=True)
class Chances:
    """How likely it is for one request that its answer is lost, that a copy of it follows, that it comes late.

    A late request's connection is closed at once, so the client sends it again and the first one comes after that.
    """

    lost: float = 0.0
    copied: float = 0.0
    late: float = 0.0


class Relay:
    """A way to one or several replicas, chosen anew for every request.

    Attributes:
        targets: the ports that requests go to, replaced while it runs.
        chances: of mishaps; drawn from a fixed seed.
        happened: how often each mishap did, and how many requests went to each port.
        statuses: what copies and late requests were answered, which no client sees.
    """

    def __init__(self, thread: LoopThread, targets: Sequence[int], seed: int = 7) -> None:
        self.targets = tuple(targets)
        self.chances = Chances()
        self.happened: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.port = 0
        self._thread = thread
        self._random = random.Random(seed)
        self._strays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.port = self._thread.listen(self._connected)

    def settle(self) -> None:
        """Wait until every copy and every late request has come."""
        self._thread.run(self._settle)

    async def _settle(self) -> None:
        while self._strays:
            await asyncio.wait(self._strays)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                request = await _message(reader)
                answer = await self._pass_on(request)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    async def _pass_on(self, request: bytes) -> bytes | None:
        """The answer; None for one that is lost: the connection is closed, as one that broke."""
        drawn = [self._random.random() for _ in range(3)]
        if drawn[0] < self.chances.late:
            self.happened["late"] += 1
            self._send_later(request)
            return None
        if drawn[1] < self.chances.copied:
            self.happened["copied"] += 1
            self._send_later(request)
        answer = await self._exchange(request)
        if drawn[2] < self.chances.lost:
            self.happened["lost"] += 1
            return None
        return answer

    def _send_later(self, request: bytes) -> None:
        task = asyncio.create_task(self._stray(request, LATE_SECONDS * self._random.random()))
        self._strays.add(task)
        task.add_done_callback(self._strays.discard)

    async def _stray(self, request: bytes, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            answer = await self._exchange(request)
            self.statuses[int(answer.split(b" ", 2)[1])] += 1

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await self._connect()
        try:
            writer.write(request)
            return await _message(reader)
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """To any replica that listens, as a balancer does."""
        for port in self._random.sample(self.targets, len(self.targets)):
            with contextlib.suppress(ConnectionRefusedError):
                streams = await asyncio.open_connection("127.0.0.1", port)
                self.happened[f"to port {port}"] += 1
                return streams
        raise ConnectionRefusedError("no replica listens")


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One request or answer as it came, its body as long as its head says."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)
