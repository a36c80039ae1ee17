"""Store: the connection to Redis, with timeouts and failures under this service's own names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from lamo.errors import ConfigError, StoreUnavailable
from service.metrics import Metrics
from service.scripts import Arguments, Call

RETRY_AFTER_MS = 200


class Store:
    """A few long-lived connections to one Redis.

    Attributes:
        url: where Redis is, `redis://`, `rediss://` or `unix://`.
        timeout_seconds: how long one pipeline may take, wait for a connection and tries included.
        connections: how many commands or pipelines are under way at most; others wait for their turn.
    """

    def __init__(self, url: str, metrics: Metrics, *, timeout_seconds: float, connections: int) -> None:
        self.url = url
        self.metrics = metrics
        self.timeout_seconds = timeout_seconds
        self.connections = connections
        self._redis: Redis | None = None

    async def open(self) -> None:
        """Make the connection pool; connections are made when they are needed.

        Raises:
            ConfigError: the URL is none.
        """
        try:
            pool = BlockingConnectionPool.from_url(
                self.url,
                max_connections=self.connections,
                timeout=self.timeout_seconds,
                socket_timeout=self.timeout_seconds,
                socket_connect_timeout=self.timeout_seconds,
                # Once, at once, for a connection that died while idle: every script may run twice.
                retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            )
        except ValueError as error:
            raise ConfigError(f"redis_url cannot be used: {error}") from error  # not the URL: it has the password
        # A mixin, because the class depends on the URL: TCP, TLS or a Unix socket.
        pool.connection_class = type("PackedConnection", (_Packing, pool.connection_class), {})
        self._redis = Redis.from_pool(pool)

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
            async with asyncio.timeout(self.timeout_seconds), self._redis.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                answers: list[Any] = await pipe.execute(raise_on_error=False)
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
        return [_refused(answer) if isinstance(answer, Exception) else answer for answer in answers]

    async def read(self, commands: Sequence[Arguments]) -> list[Any]:
        """Answers of commands that are either all answered or none.

        Raises:
            StoreUnavailable: Redis did not answer or refused one of them.
        """
        answers = await self.pipeline(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise _refused(answer)
        return answers

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            self.metrics.redis_up.set(0)
            raise _away(error) from error


class _Packing:
    """Commands packed by hiredis, which redis-py asks to read answers only: a tenth of a commit's time."""

    def pack_command(self, *arguments: str | bytes | int) -> list[bytes]:
        """The bytes of one command."""
        return [hiredis.pack_command(arguments)]  # type: ignore[arg-type]  # any number of them


def _away(error: Exception) -> StoreUnavailable:
    sentence = str(error).strip() or ("not in time" if isinstance(error, TimeoutError) else type(error).__name__)
    return StoreUnavailable(
        f"the episode store did not answer ({sentence}); the step may or may not be committed, "
        "send the same request again",
        retry_after_ms=RETRY_AFTER_MS,
    )


def _refused(error: Exception) -> StoreUnavailable:
    """LOADING, READONLY, MISCONF, OOM, CLUSTERDOWN, TRYAGAIN and whatever else a Redis says instead of running."""
    status = getattr(error, "status_code", None) if isinstance(error, ResponseError) else None
    sentence = f"{status} {error}" if status else str(error)
    return StoreUnavailable(f"the episode store refused: {sentence}", retry_after_ms=RETRY_AFTER_MS)
