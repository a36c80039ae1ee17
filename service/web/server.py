"""Server: the HTTP server of one process, on a socket that is already listening."""

from __future__ import annotations

import asyncio
import math
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from lamo.errors import ConfigError
from service.settings import Settings
from service.web import tls
from service.web.connection import Connection, Limits, Refuse

KEEP_ALIVE_SECONDS = 75
"""A robot that acts every few seconds keeps its connection; uvicorn's own 5 would cut it between two steps."""

BACKLOG = 2048

SPARE_DESCRIPTORS = 256
"""For files, Redis and engines, beside a process's connections."""

TICKS_BETWEEN_LOOKS = 10
"""Of uvicorn's tenths of a second, between two looks at every connection's clock."""


class Server(uvicorn.Server):
    """A uvicorn server that looks at its service: it leaves if that is over, and says so if it leaves.

    Args:
        drain: called when it begins to leave: not ready from now on, no new episodes.
        over: whether there is nothing left to serve, asked ten times a second.
        drain_seconds: from then until it takes no more connections.
        client_seconds: in which a client has to shake hands, where TLS is spoken.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain: Callable[[], None],
        over: Callable[[], bool],
        drain_seconds: float,
        client_seconds: float,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._over = over
        self._drain_seconds = drain_seconds
        self._client_seconds = client_seconds
        self._leaves_at = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections; with TLS, those whose handshake comes in time, for which uvicorn has no setting."""
        await super().startup([])
        config = self.config
        seconds = None if config.ssl is None else self._client_seconds
        for listener in sockets or ():
            listening = await asyncio.get_running_loop().create_server(
                self._connection,
                sock=listener,
                ssl=config.ssl,
                backlog=config.backlog,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=seconds,
            )
            self.servers.append(listening)

    def _connection(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn makes it
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave; requests under way are finished. Who is told twice leaves at once."""
        if self._leaves_at < math.inf:
            super().handle_exit(sig, frame)
        self._begin_to_leave()

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave."""
        if await super().on_tick(counter):
            return True
        if counter % TICKS_BETWEEN_LOOKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.look(now)
        if self._over():
            self._begin_to_leave()
        return time.monotonic() >= self._leaves_at

    def _begin_to_leave(self) -> None:
        self._drain()
        self._leaves_at = min(self._leaves_at, time.monotonic() + self._drain_seconds)


def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    settings: Settings,
    *,
    refuse: Refuse,
    drain: Callable[[], None],
    over: Callable[[], bool],
) -> None:
    """Serve until a signal comes or the service is over, then finish the requests under way.

    Args:
        refuse: what is said to clients whose request never comes whole.

    Raises:
        ConfigError: the TLS certificate cannot be used.
    """
    _allow_descriptors(settings.max_connections)
    config = http_config(app, settings, refuse)
    server = Server(
        config,
        drain=drain,
        over=over,
        drain_seconds=settings.drain_seconds,
        client_seconds=settings.client_timeout_seconds,
    )
    for asked in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal that stopped it once more at the end: that must not look like a crash.
        signal.signal(asked, server.handle_exit)
    server.run([listener])


def http_config(app: ASGIApp, settings: Settings, refuse: Refuse) -> uvicorn.Config:
    """How uvicorn serves the application.

    Raises:
        ConfigError: the TLS certificate cannot be used.
    """
    limits = Limits(settings.max_connections, settings.max_body_bytes, settings.client_timeout_seconds)
    secured = tls.context(settings)
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=cast(type[asyncio.Protocol], partial(Connection, limits=limits, refuse=refuse)),
        ws="none",
        access_log=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=settings.proxies,
        server_header=False,
        log_config=None,
        backlog=BACKLOG,
        timeout_graceful_shutdown=round(settings.grace_seconds),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        ssl_context_factory=None if secured is None else lambda config, default: secured,
    )


def _allow_descriptors(connections: int) -> None:
    """Each connection is a file descriptor, and many systems give a process 1024 unless it asks for more."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    if most != resource.RLIM_INFINITY:
        wanted = min(wanted, most)
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigError: it cannot.
    """
    with _named(host, port) as family:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)


def listen_in_parts(host: str, port: int, parts: int) -> list[socket.socket]:
    """Sockets that listen there together: the kernel gives each of them its part of the connections.

    Raises:
        ConfigError: they cannot, or somebody else listens there.
    """
    with listen(host, port) as alone:  # a port that is taken would be shared with whoever else has it in parts
        host, port = alone.getsockname()[:2]
    with _named(host, port) as family:
        return [
            socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
            for _ in range(parts)
        ]


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Where it listens."""
    scheme = "http" if settings.tls_certificate is None else "https"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def _named(host: str, port: int) -> Iterator[int]:
    """The address family; failures as one sentence."""
    try:
        yield socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
