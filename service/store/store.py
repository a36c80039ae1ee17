"""Store: the connection to Redis, with timeouts and failures under this service's own names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lamo.errors import StoreUnavailable
from service.metrics import Metrics
from service.store.connecting import Connecting, exchange, leave_idle
from service.store.scripts import Arguments, Call
from service.store.unavailable import RETRY_AFTER_MS, unavailable


class Store:
    """A few long-lived connections to one Redis.

    Attributes:
        url: where Redis is, `redis://`, `rediss://` or `unix://`.
        timeout_seconds: how long one pipeline may take, wait for a connection and tries included.
    """

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        timeout_seconds: float,
        connections: int,
        password_file: Path | None = None,
    ) -> None:
        self.url = url
        self.metrics = metrics
        self.timeout_seconds = timeout_seconds
        self._connecting = Connecting(timeout_seconds, connections, password_file)
        self._redis: Redis | None = None

    async def open(self) -> None:
        """Make the client; connections are made when they are needed.

        Raises:
            ConfigError: the URL is none, or names files that cannot be used.
        """
        self._redis = self._connecting.client(self.url)

    async def close(self) -> None:
        """Close the connections."""
        if self._redis is not None:
            await self._redis.aclose()
            self._redis = None

    async def pipeline(self, commands: Sequence[Arguments]) -> list[Any]:
        """Send commands in one go; a command that Redis refuses has its error as its answer.

        Raises:
            StoreUnavailable: Redis did not answer; commands may or may not have run.
        """
        if self._redis is None:
            raise StoreUnavailable("the episode store is not open", retry_after_ms=RETRY_AFTER_MS)
        with self._named_errors():
            # The library's own timeouts hold for each of its tries: connecting, greeting, connecting again.
            try:
                async with asyncio.timeout(self.timeout_seconds):
                    answers = await exchange(self._redis, commands)
            except (TimeoutError, RedisTimeoutError):
                await leave_idle(self._redis)
                raise
        self.metrics.redis_up.set(1)
        return answers

    async def run(self, calls: Sequence[Call]) -> list[Any | StoreUnavailable]:
        """Run scripts in one go; a script that Redis refuses has the failure as its answer.

        Raises:
            StoreUnavailable: Redis did not answer; scripts may or may not have run.
        """
        answers = await self.pipeline([call.by_digest for call in calls])
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            again = await self.pipeline([calls[index].by_source for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return [unavailable(answer) if isinstance(answer, Exception) else answer for answer in answers]

    async def read(self, commands: Sequence[Arguments]) -> list[Any]:
        """Answers of commands that are either all answered or none.

        Raises:
            StoreUnavailable: Redis did not answer or refused one of them.
        """
        [answers] = await self.read_each([commands])
        if isinstance(answers, StoreUnavailable):
            raise answers
        return answers

    async def read_each(self, groups: Sequence[Sequence[Arguments]]) -> list[list[Any] | StoreUnavailable]:
        """Answers to groups of commands in one go; one that is not answered whole has the failure as its answer.

        Raises:
            StoreUnavailable: Redis did not answer at all.
        """
        answers = iter(await self.pipeline([command for group in groups for command in group]))
        return [_whole([next(answers) for _ in group]) for group in groups]

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            self.metrics.redis_up.set(0)
            raise unavailable(error) from error


def _whole(answers: list[Any]) -> list[Any] | StoreUnavailable:
    for answer in answers:
        if isinstance(answer, Exception):
            return unavailable(answer)
    return answers
