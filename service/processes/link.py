"""Link: a worker's connection to one engine process; many calls are under way on it at once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from lamo.errors import EngineUnavailable, NotReady, ServiceError
from service.processes.frames import Frames

RECONNECT_SECONDS = 0.05

RETRY_AFTER_MS = 500
"""An engine is back within seconds: an interpreter, torch, its policies."""


class Link:
    """Asks one engine; connects again whenever the connection is lost.

    Attributes:
        path: of the engine's socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._frames: Frames | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._pending: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._closed = False

    def open(self) -> None:
        """Begin to connect."""
        self._connecting = asyncio.create_task(self._connect())

    async def close(self) -> None:
        """Leave the engine."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._frames is not None:
            self._frames.close()

    async def ask(self, method: str, *arguments: object) -> Any:
        """What the engine answers. If this is cancelled, the engine is told that nobody waits any more.

        Raises:
            NotReady: there is no engine now; it was not asked.
            EngineUnavailable: it went away before it answered.
            ServiceError: it refused.
        """
        frames = self._frames
        if frames is None:
            raise NotReady("the engine is being started", retry_after_ms=RETRY_AFTER_MS)
        self._number += 1
        number = self._number
        answered = self._pending[number] = asyncio.get_running_loop().create_future()
        frames.send((number, method, arguments))
        try:
            return await answered
        except asyncio.CancelledError:
            frames.send((number, None, ()))
            raise
        finally:
            self._pending.pop(number, None)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                _, frames = await loop.create_unix_connection(
                    lambda: Frames(self._answered, self._lost), str(self.path)
                )
                if frames.open:
                    self._frames = frames
                    return
            await asyncio.sleep(RECONNECT_SECONDS)

    def _answered(self, frame: list[Any]) -> None:
        number, value = frame
        answered = self._pending.get(number)
        if answered is None or answered.done():
            return  # whoever asked has left
        if isinstance(value, ServiceError):
            answered.set_exception(value)
        else:
            answered.set_result(value)

    def _lost(self) -> None:
        if self._frames is None:
            return  # lost as soon as it was made: `_connect` goes on
        self._frames = None
        for answered in self._pending.values():
            if not answered.done():
                answered.set_exception(
                    EngineUnavailable(
                        "the engine went away; the step may or may not be committed, send the same request again",
                        retry_after_ms=RETRY_AFTER_MS,
                    )
                )
        if not self._closed:
            self.open()
