"""App: the ASGI application, put together from its parts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from lamo.errors import ServiceError
from service.answers import server_version
from service.embedded import EmbeddedRedis
from service.engine import Engine
from service.hot import Hot
from service.intake import Intake
from service.lifecycle import Lifecycle
from service.local import Local
from service.metrics import Metrics
from service.problems import Problems
from service.routes import router
from service.settings import Settings
from service.store import Store

logger = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    engine: Engine | None = None,
    store: Store | None = None,
    url: str | None = None,
) -> FastAPI:
    """The service as an ASGI application; `app.state.lifecycle` is what its lifespan opens.

    Args:
        engine: serves instead of one made from the settings.
        store: keeps the episodes instead of the Redis the settings name.
        url: where it listens, told in the log when it is ready.
    """
    metrics = Metrics()
    embedded = None
    if store is None and settings.redis_url is None:
        embedded = EmbeddedRedis(settings.data_dir, fsync=settings.fsync)
    lifecycle = Lifecycle(
        settings,
        metrics=metrics,
        engine=engine or _engine(settings),
        embedded=embedded,
        store=store or _store(settings, metrics, embedded),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lifecycle:
            logger.info("listening", extra={"url": url})
            yield

    app = Application(title="LaMo serving", version=server_version(), lifespan=lifespan)
    app.state.lifecycle, app.state.serving, app.state.metrics = lifecycle, Local(lifecycle), metrics
    app.include_router(router)
    problems = Problems(metrics)
    for failure in (ServiceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(failure, problems.handle)
    hot = Hot(app.state.serving, problems)
    app.intake = Intake(app.beyond_intake, hot, problems, settings.max_body_bytes)
    return app


class Application(FastAPI):
    """FastAPI behind an intake, which everything meets before FastAPI's own middleware, and acts instead of it."""

    intake: Intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.intake(scope, receive, send)

    async def beyond_intake(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that the intake lets through."""
        await super().__call__(scope, receive, send)


def _engine(settings: Settings) -> Engine:
    return Engine(
        settings.policies,
        device=settings.device,
        dtype=settings.dtype,
        reproducible=settings.reproducible,
        batch_limit=settings.batch_limit,
        threads=settings.threads,
        slot_bytes=settings.slot_megabytes << 20,
    )


def _store(settings: Settings, metrics: Metrics, embedded: EmbeddedRedis | None) -> Store:
    return Store(
        embedded.url if embedded is not None else str(settings.redis_url),
        metrics,
        timeout_seconds=settings.store_timeout_seconds,
        connections=settings.store_connections,
    )
