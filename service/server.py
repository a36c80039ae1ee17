"""Server: the HTTP server of one process, on a socket that is already listening."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from lamo.errors import ConfigError
from service.settings import Settings

KEEP_ALIVE_SECONDS = 75
"""A robot that acts every few seconds keeps its connection; uvicorn's own 5 would cut it between two steps."""

BACKLOG = 2048


class Server(uvicorn.Server):
    """A uvicorn server that looks at its service: it leaves if that is over, and says so if it leaves.

    Args:
        drain: called when it begins to leave: not ready from now on, no new episodes.
        over: whether there is nothing left to serve, asked ten times a second.
    """

    def __init__(self, config: uvicorn.Config, *, drain: Callable[[], None], over: Callable[[], bool]) -> None:
        super().__init__(config)
        self._drain = drain
        self._over = over

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave; requests under way are finished."""
        self._drain()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave."""
        if await super().on_tick(counter):
            return True
        if self._over():
            self._drain()
            return True
        return False


def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    settings: Settings,
    *,
    drain: Callable[[], None],
    over: Callable[[], bool],
) -> None:
    """Serve until a signal comes or the service is over, then finish the requests under way."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        proxy_headers=False,  # nobody asks for a client's address
        log_config=None,
        backlog=BACKLOG,
        timeout_graceful_shutdown=round(settings.grace_seconds),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = Server(config, drain=drain, over=over)
    for asked in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal that stopped it once more at the end: that must not look like a crash.
        signal.signal(asked, server.handle_exit)
    server.run([listener])


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


def url_of(listener: socket.socket) -> str:
    """Where it listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextmanager
def _named(host: str, port: int) -> Iterator[int]:
    """The address family; failures as one sentence."""
    try:
        yield socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
