"""Departure: noticing that a client has left, so that nobody infers for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

AnswerT = TypeVar("AnswerT")

LOOK_AFTER_SECONDS = 0.02
"""An answer within this time costs no look at the connection; whoever leaves earlier is inferred for."""


async def unless_left(answering: Coroutine[Any, Any, AnswerT], receive: Receive) -> AnswerT | None:
    """The answer, or None if the client leaves before it: then `answering` is cancelled.

    The server does not cancel by itself what it runs for a client that has left.
    """
    watch = _Watch(receive)
    timer = asyncio.get_running_loop().call_later(LOOK_AFTER_SECONDS, watch.begin)
    try:
        return await answering
    except asyncio.CancelledError:
        if watch.ours():
            return None
        raise
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self._left = False

    def begin(self) -> None:
        self._watching = asyncio.create_task(self._look())

    def end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()

    def ours(self) -> bool:
        """Whether the task was cancelled because the client left, and for no other reason."""
        return self._left and self._task is not None and self._task.uncancel() == 0

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if self._task is not None:
            self._task.cancel()
