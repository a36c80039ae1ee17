"""HttpWorker: one process that speaks HTTP with clients and asks the engine processes. Loads no torch."""

from __future__ import annotations

import gc
import logging
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from fastapi import FastAPI

from lamo.errors import ConfigError
from service.logs import log_to_stderr
from service.metrics import Metrics
from service.owners import audit
from service.owners.keys_file import KeysFile, opened, watched
from service.processes.child import tell
from service.processes.remote import Remote
from service.settings import Settings
from service.web.asgi import asgi_app
from service.web.server import serve_http

logger = logging.getLogger(__name__)


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
    keys = _keys(settings, supervisor)
    remote = Remote(sockets)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with remote, watched(keys):
            gc.collect()
            gc.freeze()  # what is loaded by now stays; collections look at requests only
            tell(supervisor, None)
            yield

    def drain() -> None:
        remote.draining = True

    metrics, most = Metrics(folder), settings.max_body_bytes
    app = asgi_app(remote, metrics, keys=keys, lifespan=lifespan, max_body_bytes=most)
    serve_http(app, listener, settings, refuse=app.intake.refuse, drain=drain, over=supervisor.poll)


def _keys(settings: Settings, supervisor: Connection) -> KeysFile | None:
    """The keys, if there are any; a worker without those that it should ask for does not serve."""
    try:
        audit.write_to(settings.audit_log)
        return opened(settings.keys)
    except ConfigError as error:
        logger.error("worker cannot serve", extra={"reason": str(error)})
        tell(supervisor, str(error))
        sys.exit(2)
