"""HttpWorker: one process that speaks HTTP with clients and asks the engine processes. Loads no torch."""

from __future__ import annotations

import gc
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from fastapi import FastAPI

from service.asgi import asgi_app
from service.child import tell
from service.logs import log_to_stderr
from service.metrics import Metrics
from service.remote import Remote
from service.server import serve_http
from service.settings import Settings


def serve_worker(
    settings: Settings, listener: socket.socket, folder: Path, sockets: Sequence[Path], supervisor: Connection
) -> None:
    """Serve until told to stop: by a signal, or by the supervisor's end of the pipe being closed.

    Args:
        listener: this worker's part of the connections.
        folder: where all processes count their metrics.
        sockets: of the engines.
        supervisor: told None once this worker can serve.
    """
    log_to_stderr(settings.log_level)
    remote = Remote(sockets)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with remote:
            gc.collect()
            gc.freeze()  # what is loaded by now stays; collections look at requests only
            tell(supervisor, None)
            yield

    def drain() -> None:
        remote.draining = True

    app = asgi_app(remote, Metrics(folder), lifespan=lifespan, max_body_bytes=settings.max_body_bytes)
    serve_http(app, listener, settings, refuse=app.intake.refuse, drain=drain, over=supervisor.poll)
