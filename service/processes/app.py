"""App: the whole service in one process, as an ASGI application put together from its parts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.metrics import Metrics
from service.owners.keys_file import opened, watched
from service.policies.engine import Engine
from service.processes.lifecycle import Lifecycle
from service.processes.local import Local
from service.settings import Settings
from service.store.store import Store
from service.web.asgi import Application, asgi_app

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    store: Store | None = None,
    url: str | None = None,
) -> Application:
    """The service as an ASGI application; `app.state.lifecycle` is what its lifespan opens.

    Args:
        engine: serves instead of one made from the settings.
        store: keeps the episodes instead of the Redis the settings name.
        url: where it listens, told in the log when it is ready.

    Raises:
        ConfigError: the keys file cannot be used.
    """
    keys = opened(settings.keys)
    metrics = Metrics()
    lifecycle = Lifecycle.of(settings, metrics, engine=engine, store=store)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lifecycle, watched(keys):
            logger.info("listening", extra={"url": url})
            yield

    app = asgi_app(Local(lifecycle), metrics, keys=keys, lifespan=lifespan, max_body_bytes=settings.max_body_bytes)
    app.state.lifecycle = lifecycle
    return app
