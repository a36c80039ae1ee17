"""One request for many episodes: each item stands alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.service.conftest import OBSERVATION, HeldEngine, content

pytestmark = pytest.mark.anyio


async def together(service, *items):
    answer = await service.client.post("/act", json={"items": list(items)})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def item(episode, step, **fields):
    return {"episode_id": episode, "step": step, "observation": OBSERVATION} | fields


async def test_many_episodes_get_what_each_would_get_alone_in_one_batch(serve, held_engine: HeldEngine):
    held_engine.let_go.set()
    async with serve(engine=held_engine) as service:
        alone = await service.play(await service.start(target_return=20), 9)
        held_engine.batches.clear()
        episodes = [await service.start(target_return=20) for _ in range(5)]
        for step in range(9):
            outcomes = await together(service, *(item(episode, step, **content(step)) for episode in episodes))
            assert [outcome["body"]["episode_id"] for outcome in outcomes] == episodes
            for outcome in outcomes:
                assert outcome["status"] == 200
                assert outcome["body"]["action"] == pytest.approx(alone[step], abs=1e-6)
        assert held_engine.batches == [5] * 9


async def test_what_is_wrong_with_one_item_is_that_items_answer(serve):
    async with serve() as service:
        sound, behind, ended, misshapen = [await service.start() for _ in range(4)]
        for episode in (behind, ended):
            await service.act(episode, 0)
        await service.end(ended, step=1)
        outcomes = await together(
            service,
            item("nobody", 0),
            item(behind, 2),
            item(ended, 1),
            item(misshapen, 0, observation=[1.0] * 4),
            item(sound, 0, observation=[1e39] * 5),
            item(sound, 0, stepp=1),
            {"step": 0, "observation": OBSERVATION},
            item("a b", 0),
            7,
            item(sound, 0),
        )
        assert [outcome["status"] for outcome in outcomes] == [404, 409, 410, 422, 422, 422, 422, 422, 422, 200]
        details = [outcome["body"].get("detail") for outcome in outcomes]
        assert outcomes[1]["body"]["expected_step"] == 1
        assert "committed_step" not in outcomes[0]["body"]  # what is not known is left out, as in any problem
        assert details[3] == "observation has shape [4], policy 'small' takes [5]"
        assert details[5:7] == ["item 5: field 'stepp' is unknown", "item 6: field 'episode_id' is missing"]
        assert details[7].startswith("item 7: field 'episode_id' cannot be used")
        assert details[8].startswith("item 8: the body cannot be used")
        assert (await service.client.get(f"/episodes/{sound}")).json()["committed_step"] == 0
        sample = service.lifecycle.metrics.registry.get_sample_value
        assert sample("lamo_refusals_total", {"reason": "invalid-request"}) == 6


async def test_the_same_episode_twice_shares_the_step_or_has_to_wait(serve, held_engine: HeldEngine):
    held_engine.let_go.set()
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        same, again, other = await together(
            service, item(episode, 0), item(episode, 0), item(episode, 0, observation=[0.0] * 5)
        )
        assert same == again
        assert (other["status"], other["body"]["retryable"]) == (409, True)
        assert held_engine.batches == [1]


async def test_items_count_in_the_queue_one_by_one(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine, queue_limit=3) as service:
        episodes = [await service.start() for _ in range(5)]
        request = asyncio.create_task(together(service, *(item(episode, 0) for episode in episodes)))
        await held_engine.holding.wait()
        held_engine.let_go.set()
        assert [outcome["status"] for outcome in await request] == [200, 200, 200, 429, 429]


async def test_a_deadline_is_its_items_own(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, hasty, patient = [await service.start() for _ in range(3)]
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        request = asyncio.create_task(together(service, item(hasty, 0, deadline_ms=20), item(patient, 0)))
        await asyncio.sleep(0.1)
        held_engine.let_go.set()
        assert [outcome["status"] for outcome in await request] == [504, 200]
        await first
