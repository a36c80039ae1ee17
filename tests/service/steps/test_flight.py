"""Acts under way: batches, sharing, disconnects, deadlines, a full queue, a policy that fails, draining."""

from __future__ import annotations

import asyncio

import pytest
import torch

from service.callers import NO_LIMITS
from tests.service.conftest import OBSERVATION, HeldEngine

pytestmark = pytest.mark.anyio

HUGE = [3e38] * 5
"""Finite in float32, but not after normalisation: the policy answers NaN."""


async def wait_until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_whoever_comes_while_the_device_is_busy_shares_the_next_batch(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episodes = [await service.start() for _ in range(6)]
        first = asyncio.create_task(service.act(episodes[0], 0))
        await held_engine.holding.wait()
        others = [asyncio.create_task(service.act(episode, 0)) for episode in episodes[1:]]
        await asyncio.sleep(0.1)
        held_engine.let_go.set()
        answers = [(await request).json() for request in [first, *others]]
        assert held_engine.batches == [1, 5]
        assert [answer["timing"]["batch_size"] for answer in answers] == [1, 5, 5, 5, 5, 5]


async def test_a_batch_is_no_larger_than_the_limit(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episodes = [await service.start() for _ in range(20)]
        held_engine.let_go.set()
        answers = await asyncio.gather(*(service.act(episode, 0) for episode in episodes))
        assert {answer.status_code for answer in answers} == {200}
        assert max(held_engine.batches) <= 8
        assert sum(held_engine.batches) == 20


async def test_a_leader_that_leaves_does_not_take_its_followers_along(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        leader = asyncio.create_task(service.act(episode, 0))
        await held_engine.holding.wait()
        follower = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.02)
        leader.cancel()
        await asyncio.wait([leader])
        held_engine.let_go.set()
        answer = await follower
        assert answer.status_code == 200
        assert (await service.act(episode, 0)).json()["action"] == answer.json()["action"]


async def test_a_deadline_that_passes_before_inference_leaves_no_trace(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, episode = await service.start(), await service.start()
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        answer = await service.act(episode, 0, deadline_ms=20)  # at once, while the device is still at the first
        assert answer.status_code == 504
        assert answer.json()["type"] == "urn:lamo:problem:deadline-exceeded"
        held_engine.let_go.set()
        assert (await first).status_code == 200
        assert (await service.client.get(f"/episodes/{episode}")).json()["committed_step"] == -1
        assert not (await service.act(episode, 0, deadline_ms=5000)).json()["replayed"]


async def test_a_shared_step_lives_until_the_last_deadline(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, episode = await service.start(), await service.start()
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        hasty = asyncio.create_task(service.act(episode, 0, deadline_ms=20))
        await asyncio.sleep(0.01)
        patient = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.1)
        held_engine.let_go.set()
        assert (await hasty).json()["action"] == (await patient).json()["action"]
        await first


async def test_a_repeated_step_that_nobody_waits_for_does_not_free_its_episode(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        held_engine.let_go.set()
        await service.act(episode, 0)
        held_engine.let_go.clear()
        held_engine.holding.clear()
        following = asyncio.create_task(service.act(episode, 1))
        await held_engine.holding.wait()
        left = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.02)
        left.cancel()
        await asyncio.wait([left])
        again = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.1)
        assert not again.done()
        held_engine.let_go.set()
        assert (await following).status_code == 200
        assert (await again).json()["replayed"]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine, queue_limit=2) as service:
        episodes = [await service.start() for _ in range(5)]
        under_way = [asyncio.create_task(service.act(episodes[0], 0))]
        await held_engine.holding.wait()
        under_way += [asyncio.create_task(service.act(episode, 0)) for episode in episodes[1:3]]
        await asyncio.sleep(0.05)
        answer = await service.act(episodes[3], 0)
        assert answer.status_code == 429
        document = answer.json()
        assert (document["type"], document["retryable"]) == ("urn:lamo:problem:queue-full", True)
        assert document["retry_after_ms"] > 0
        assert answer.headers["retry-after"] == "1"
        held_engine.let_go.set()
        assert {(await request).status_code for request in under_way} == {200}
        assert (await service.act(episodes[3], 0)).status_code == 200


async def test_an_action_that_is_not_finite_fails_its_episode_alone(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, broken, sound = [await service.start() for _ in range(3)]
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        requests = [
            asyncio.create_task(service.act(episode, 0, observation=observation))
            for episode, observation in ((broken, HUGE), (sound, OBSERVATION))
        ]
        await asyncio.sleep(0.05)
        held_engine.let_go.set()
        failed, answered = [await request for request in requests]
        assert held_engine.batches == [1, 2]
        assert failed.status_code == 500
        assert failed.json()["type"] == "urn:lamo:problem:action-not-finite"
        assert answered.status_code == 200
        assert (await service.client.get(f"/episodes/{broken}")).json()["committed_step"] == -1
        assert (await service.client.get(f"/episodes/{sound}")).json()["committed_step"] == 0
        assert (await service.act(broken, 0)).status_code == 200
        await first


async def test_a_forward_pass_that_fails_is_answered_and_the_next_one_is_served(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        held_engine.let_go.set()
        infer = held_engine.infer

        async def fails_once(served, windows, episode_ids):
            held_engine.infer = infer
            raise RuntimeError("device lost")

        held_engine.infer = fails_once
        answer = await service.act(episode, 0)
        assert answer.status_code == 500
        assert "device lost" not in answer.text
        assert not (await service.act(episode, 0)).json()["replayed"]


async def test_an_accelerator_that_fails_ends_the_service_and_the_step_may_be_sent_again(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()

        def broken(windows, names=None):
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

        monkeypatch.setattr(service.lifecycle.engine.find("small", NO_LIMITS).policy, "propose", broken)
        answer = await service.act(episode, 0)
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)
        assert answer.json()["type"] == "urn:lamo:problem:engine-unavailable"
        assert isinstance(service.lifecycle.failure, torch.AcceleratorError)  # what the server leaves on
        assert (await service.client.get(f"/episodes/{episode}")).json()["committed_step"] == -1


async def test_while_one_batch_commits_the_next_one_infers(serve, held_engine: HeldEngine, monkeypatch):
    async with serve(engine=held_engine) as service:
        first, second = await service.start(), await service.start()
        held_engine.let_go.set()
        episodes = service.lifecycle.acting._episodes
        commit, resume = episodes.commit, asyncio.Event()

        async def slow_commit(commits):
            await resume.wait()
            return await commit(commits)

        monkeypatch.setattr(episodes, "commit", slow_commit)
        requests = [asyncio.create_task(service.act(first, 0))]
        await wait_until(lambda: len(held_engine.batches) == 1)
        requests.append(asyncio.create_task(service.act(second, 0)))
        await wait_until(lambda: len(held_engine.batches) == 2)
        duplicate = await service.act(first, 1)
        assert duplicate.status_code == 409  # its step 0 is not resolved yet
        resume.set()
        assert {(await request).status_code for request in requests} == {200}


async def test_a_draining_service_takes_no_new_episode_but_finishes_those_it_has(serve):
    async with serve() as service:
        episode = await service.start()
        service.lifecycle.draining = True
        answer = await service.client.post("/episodes")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:lamo:problem:draining"
        assert (await service.client.get("/readyz")).status_code == 503
        assert (await service.client.get("/healthz")).status_code == 200
        assert (await service.act(episode, 0)).status_code == 200


async def test_nothing_waits_for_ever_when_the_service_closes(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        busy, waiting = await service.start(), await service.start()
        requests = [asyncio.create_task(service.act(busy, 0))]
        await held_engine.holding.wait()
        requests.append(asyncio.create_task(service.act(waiting, 0)))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        answers = [await request for request in requests]
    assert [answer.status_code for answer in answers] == [503, 503]
