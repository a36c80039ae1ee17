"""At once: several talks of an asynchronous client side by side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from clients.talk import Talk

MOST_TALKS = 16
"""Each goes over a connection of its own: as many as a service hardly notices."""


async def at_once(converse: Callable[[Talk[None]], Awaitable[None]], talks: Sequence[Talk[None]]) -> None:
    """Have all of them, up to `MOST_TALKS` at a time."""
    free = anyio.Semaphore(MOST_TALKS)

    async def have(talk: Talk[None]) -> None:
        async with free:
            await converse(talk)

    async with anyio.create_task_group() as group:
        for talk in talks:
            group.start_soon(have, talk)
