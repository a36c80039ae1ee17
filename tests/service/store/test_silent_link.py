"""Connections to Redis that died in silence: one command finds out, not one for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamo.errors import StoreUnavailable
from tests.faults.link import Link, LoopThread
from tests.faults.processes import RedisServer
from tests.service.conftest import open_store

pytestmark = pytest.mark.anyio

CONNECTIONS = 4

TIMEOUT_SECONDS = 0.5


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    try:
        with LoopThread() as thread:
            link = Link(thread, redis.port)
            link.start()
            yield link
    finally:
        redis.stop()


async def test_one_command_waits_in_vain_and_those_after_it_are_answered(link: Link) -> None:
    url = f"redis://127.0.0.1:{link.port}/0"
    async with open_store(url, timeout_seconds=TIMEOUT_SECONDS, connections=CONNECTIONS) as store:
        link.latency_seconds = 0.02
        asked = [("ECHO", "here")]
        await asyncio.gather(*(store.pipeline(asked) for _ in range(CONNECTIONS)))
        link.silence()
        assert link.cuts == CONNECTIONS
        with pytest.raises(StoreUnavailable):
            await store.pipeline(asked)
        answers = await asyncio.gather(*(store.pipeline(asked) for _ in range(CONNECTIONS)))
        assert answers == CONNECTIONS * [[b"here"]]
