"""Connecting: from the URL of one redis-server to its client, whose connections are few and answer in time."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.maint_notifications import MaintNotificationsConfig

from lamo.errors import ConfigError
from service.store.scripts import Arguments

FORMS = "redis://, rediss:// or unix://, with special characters of the password percent-encoded"


@dataclass(frozen=True)
class Connecting:
    """How any redis-server is spoken to, whatever its URL says.

    Attributes:
        timeout_seconds: for connecting, and for each answer.
        connections: how many to one server at most; who finds none free waits for one.
        password_file: where the password is, read whenever a connection is made; None if the URL has it, or nobody.
    """

    timeout_seconds: float
    connections: int
    password_file: Path | None = None

    def client(self, url: str) -> Redis:
        """A client without a connection yet.

        Raises:
            ConfigError: the URL, a file it names, or the password file cannot be used. Never says the password.
        """
        pool = self._pool(url)
        try:
            connection = pool.make_connection()  # type: ignore[no-untyped-call]
            if isinstance(connection, SSLConnection):
                connection.ssl_context.get()
        except TypeError as error:
            unknown = str(error).rpartition("argument ")[2]
            raise ConfigError(f"redis_url has a parameter that is none: {unknown}") from None
        except (OSError, ValueError, RedisError) as error:
            raise ConfigError(f"redis_url names certificates that cannot be used: {_reason(error)}") from None
        return Redis.from_pool(pool)

    def _pool(self, url: str) -> BlockingConnectionPool:
        try:
            options: dict[str, Any] = dict(parse_url(url))
        except ValueError:
            # Not the library's sentence: it can have a part of the password.
            raise ConfigError(f"redis_url cannot be used: it has to begin with {FORMS}") from None
        options |= self._credentials(options) | {
            "max_connections": self.connections,
            "timeout": self.timeout_seconds,
            "socket_timeout": self.timeout_seconds,
            "socket_connect_timeout": self.timeout_seconds,
            # Once, at once, for a connection that died while idle: every script may run twice.
            "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            # Two more commands for each connection that a user of few rights would need, and longer timeouts.
            "driver_info": None,
            "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        }
        pool = BlockingConnectionPool(**options)
        # A mixin, because the class depends on the URL: TCP, TLS or a Unix socket.
        pool.connection_class = type("PackedConnection", (_Packing, pool.connection_class), {})
        return pool

    def _credentials(self, options: dict[str, Any]) -> dict[str, Any]:
        if self.password_file is None:
            return {}
        if options.pop("password", None) is not None:
            raise ConfigError("redis_url has a password and redis_password_file names one: say only one of them")
        provider = _PasswordFile(self.password_file, options.pop("username", None))
        provider.read()
        return {"credential_provider": provider}


async def exchange(redis: Redis, commands: Sequence[Arguments]) -> list[Any]:
    """Answers to commands sent in one go; a command that Redis refuses has its error as its answer.

    Raises:
        RedisError, OSError: Redis did not answer; commands may or may not have run.
    """
    async with redis.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
    return answers


async def leave_idle(redis: Redis) -> None:
    """Close the connections that lie idle, after one on which Redis did not answer in time.

    What silenced that one, a firewall that forgot or a cable, has mostly silenced all: each would cost as much.
    """
    await redis.connection_pool.disconnect(inuse_connections=False)


class _Packing:
    """Commands packed by hiredis, which redis-py asks to read answers only: a tenth of a commit's time."""

    def pack_command(self, *arguments: str | bytes | int) -> list[bytes]:
        """The bytes of one command."""
        return [hiredis.pack_command(arguments)]  # type: ignore[arg-type]  # any number of them


class _PasswordFile(CredentialProvider):
    """A password that may change while the service runs: each new connection has the file's."""

    def __init__(self, path: Path, username: str | None) -> None:
        self._path = path
        self._username = username

    def read(self) -> str:
        """The password.

        Raises:
            ConfigError: the file cannot be read, or is no text.
        """
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"redis_password_file cannot be read: {error}") from error

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """The user, if the URL names one, and the password.

        Raises:
            RedisConnectionError: there is no password to read; clients are told, but not where it should be.
        """
        try:
            password = self.read()
        except ConfigError as error:
            raise RedisConnectionError("the password file cannot be read") from error
        return (password,) if self._username is None else (self._username, password)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """The same: a local file of one line is read at once."""
        return self.get_credentials()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return str(error)
