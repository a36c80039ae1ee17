"""Lifecycle: the service's parts, opened in order and closed in reverse; what the probes look at."""

from __future__ import annotations

import asyncio
import gc
import logging
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from service.metrics import Metrics
from service.policies.engine import Engine
from service.settings import Settings
from service.steps.acting import Acting
from service.store.cluster import ClusterStore
from service.store.cluster_url import ClusterUrl
from service.store.embedded import EmbeddedRedis
from service.store.episodes import Episodes
from service.store.store import Store

logger = logging.getLogger(__name__)

STALL_SECONDS = 10.0


class Lifecycle:
    """One service: its store, its engine, and what acts on both.

    Opening goes on beside the event loop, which answers probes from the first moment.

    Attributes:
        embedded: the private Redis, None where the settings name another.
        opened: whether episodes can be served.
        draining: whether the service is shutting down.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        metrics: Metrics,
        engine: Engine,
        embedded: EmbeddedRedis | None,
        store: Store,
    ) -> None:
        self.metrics = metrics
        self.engine = engine
        self.embedded = embedded
        self.store = store
        self.acting = Acting(
            engine,
            Episodes(store),
            metrics,
            queue_limit=settings.queue_limit,
            queue_seconds=settings.queue_seconds,
            cached_episodes=settings.cached_episodes,
            policies_poll_seconds=settings.policies_poll_seconds,
            revision_idle_seconds=settings.revision_idle_seconds,
        )
        self.opened = False
        self.draining = False
        self._failure: Exception | None = None
        self._opening: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._parts = AsyncExitStack()

    @classmethod
    def of(
        cls, settings: Settings, metrics: Metrics, *, engine: Engine | None = None, store: Store | None = None
    ) -> Self:
        """The parts that the settings ask for, but for those given."""
        embedded = None
        if store is None and settings.redis_url is None:
            embedded = EmbeddedRedis(settings.data_dir, fsync=settings.fsync)
        return cls(
            settings,
            metrics=metrics,
            engine=engine or _engine(settings),
            embedded=embedded,
            store=store or _store(settings, metrics, embedded),
        )

    @property
    def failure(self) -> Exception | None:
        """What kept it from opening, or ended it: a failed accelerator serves nothing more in a process."""
        return self._failure or self.engine.lost

    @property
    def stalled(self) -> bool:
        """Whether work waits and nothing was finished for too long."""
        return self.acting.stepping.stalled(STALL_SECONDS)

    async def __aenter__(self) -> Self:
        self._opening = asyncio.create_task(self._open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.draining = True
        if self._loading is not None:
            self._loading.cancel()
        if self._opening is not None:
            await asyncio.wait([self._opening])
        await self._parts.aclose()
        self.opened = False

    async def wait_opened(self) -> None:
        """Return when the service is ready, or has failed to open."""
        if self._opening is not None:
            await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            if self.embedded is not None:
                self._parts.push_async_callback(self.embedded.close)
                await self.embedded.open()
            self._parts.push_async_callback(self.store.close)
            await self.store.open()
            self._parts.push_async_callback(self.engine.close)
            if self.draining:
                return
            self._loading = asyncio.create_task(self.engine.open())
            await self._loading
            self._parts.push_async_callback(self.acting.close)
            self.acting.open()
        except Exception as failure:
            self._failure = failure
            return
        gc.collect()
        gc.freeze()  # a full collection over torch's modules would stop the event loop for a fifth of a second
        self.opened = True
        logger.info("ready", extra={"policies": [served.name for served in self.engine.served]})


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
    url = embedded.url if embedded is not None else str(settings.redis_url)
    kind = ClusterStore if ClusterUrl.names(url) else Store
    return kind(
        url,
        metrics,
        timeout_seconds=settings.store_timeout_seconds,
        connections=settings.store_connections,
        password_file=None if embedded is not None else settings.redis_password_file,
    )
