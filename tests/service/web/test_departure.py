"""Clients that leave: nobody infers for them, unless somebody else waits for the same step."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.service.conftest import OBSERVATION, HeldEngine

pytestmark = pytest.mark.anyio


class Visitor:
    """A client that can hang up, spoken to by the ASGI protocol alone."""

    def __init__(self, service, path, body):
        self.left = asyncio.Event()
        self.sent = []
        self._body = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(b"content-type", b"application/json")],
        }
        self.served = asyncio.create_task(service.client._transport.app(scope, self._receive, self._send))

    async def _receive(self):
        if self._body:
            return self._body.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)

    async def leave(self):
        await asyncio.sleep(0.05)
        self.left.set()
        async with asyncio.timeout(5):
            await self.served


def act(service, episode):
    return Visitor(service, f"/episodes/{episode}/act", {"step": 0, "observation": OBSERVATION})


async def committed_step(service, episode):
    return (await service.client.get(f"/episodes/{episode}")).json()["committed_step"]


async def test_a_step_that_waits_is_forgotten_when_its_client_leaves(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, left = await service.start(), await service.start()
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        visitor = act(service, left)
        await visitor.leave()
        assert visitor.sent == []
        sample = service.lifecycle.metrics.registry.get_sample_value
        assert sample("lamo_queue_depth") == 0
        held_engine.let_go.set()
        await first
        assert held_engine.batches == [1]
        assert await committed_step(service, left) == -1
        assert (await service.act(left, 0)).status_code == 200


async def test_a_batch_leaves_out_whoever_left_while_it_was_gathered(serve, held_engine, monkeypatch):
    held_engine.let_go.set()
    async with serve(engine=held_engine) as service:
        episodes = service.lifecycle.acting._episodes
        read, resume = episodes.read, asyncio.Event()

        async def slow_read(episode_ids):
            await resume.wait()
            return await read(episode_ids)

        left = await service.start()
        monkeypatch.setattr(episodes, "read", slow_read)
        visitor = act(service, left)
        await visitor.leave()
        resume.set()
        monkeypatch.undo()
        other = await service.start()
        assert (await service.act(other, 0)).status_code == 200
        assert held_engine.batches == [1]
        assert await committed_step(service, left) == -1
        assert not (await service.act(left, 0)).json()["replayed"]


async def test_a_step_goes_on_while_somebody_else_waits_for_it(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, shared = await service.start(), await service.start()
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        visitor = act(service, shared)
        await asyncio.sleep(0)
        follower = asyncio.create_task(service.act(shared, 0))
        await visitor.leave()
        held_engine.let_go.set()
        assert (await follower).status_code == 200
        assert await committed_step(service, shared) == 0
        await first


async def test_a_step_that_is_being_inferred_is_committed_all_the_same(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        visitor = act(service, episode)
        await held_engine.holding.wait()
        await visitor.leave()
        held_engine.let_go.set()
        answer = await service.act(episode, 0)
        assert (answer.status_code, visitor.sent) == (200, [])
        assert held_engine.batches == [1]


async def test_who_leaves_a_request_for_many_leaves_all_of_it(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, *episodes = [await service.start() for _ in range(4)]
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        items = [{"episode_id": episode, "step": 0, "observation": OBSERVATION} for episode in episodes]
        await Visitor(service, "/act", {"items": items}).leave()
        held_engine.let_go.set()
        await first
        assert [await committed_step(service, episode) for episode in episodes] == [-1] * 3
        sample = service.lifecycle.metrics.registry.get_sample_value
        gone = {"policy": "unknown", "owner": "local", "code": "499"}
        assert sample("lamo_act_seconds_count", gone) == 3


async def test_an_answer_that_takes_long_reaches_a_client_that_stays(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        request = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.1)
        held_engine.let_go.set()
        assert (await request).status_code == 200


async def test_a_service_that_is_cancelled_does_not_take_it_for_a_client_that_left(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        visitor = act(service, await service.start())
        await held_engine.holding.wait()
        visitor.served.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visitor.served
