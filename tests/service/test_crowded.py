"""Requests are refused while those before them wait too long, and not because of what they bring themselves."""

from __future__ import annotations

import asyncio

import pytest

from tests.service.conftest import OBSERVATION, HeldEngine, Service

pytestmark = pytest.mark.anyio

SLOW_SECONDS = 0.3


async def a_slow_pass(service: Service, engine: HeldEngine, episode_id: str) -> None:
    """Let the service learn that a pass takes long."""
    step = asyncio.create_task(service.act(episode_id, 0))
    await engine.holding.wait()
    await asyncio.sleep(SLOW_SECONDS)
    engine.let_go.set()
    assert (await step).status_code == 200
    engine.let_go.clear()
    engine.holding.clear()


async def test_whoever_would_wait_for_a_second_slow_pass_is_refused_at_once_and_told_when_to_come(
    serve, held_engine
):
    async with serve(engine=held_engine, queue_seconds=0.2) as service:
        first, running, *waiting, last = [await service.start() for _ in range(3 + held_engine.batch_limit)]
        await a_slow_pass(service, held_engine, first)
        under_way = [asyncio.create_task(service.act(running, 0))]
        await held_engine.holding.wait()
        under_way += [asyncio.create_task(service.act(name, 0)) for name in waiting]  # as many as a pass takes
        await asyncio.sleep(0.05)
        refused = await service.act(last, 0)
        assert refused.status_code == 429
        assert refused.json()["retry_after_ms"] >= 1000 * SLOW_SECONDS / 2
        again = asyncio.create_task(service.act(waiting[0], 0))  # the same step joins the one that waits
        await asyncio.sleep(0.05)
        held_engine.let_go.set()
        assert {(await request).status_code for request in (*under_way, again)} == {200}
        assert (await service.act(last, 0)).status_code == 200


async def test_a_request_of_many_steps_comes_in_where_nobody_waits(serve, held_engine):
    async with serve(engine=held_engine, queue_seconds=0.2) as service:
        episodes = [await service.start() for _ in range(12)]
        await a_slow_pass(service, held_engine, episodes[0])
        items = [{"episode_id": name, "step": 0, "observation": OBSERVATION} for name in episodes[1:]]
        held_engine.let_go.set()
        answer = await service.client.post("/act", json={"items": items})
        assert [item["status"] for item in answer.json()["items"]] == [200] * 11  # more than one pass takes
