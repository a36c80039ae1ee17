"""Windows from the cache and from the record: the same; torn reads, replicas, restarts, other epochs."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time

import numpy as np
import pytest

from lamo.wire import ActRequest
from service.callers import LOCAL_OWNER, Caller, EpisodeName
from service.serving import AskedStep
from service.steps.contents import StepContent
from service.store.episodes import Verdict
from tests.service.conftest import OBSERVATION, content

pytestmark = pytest.mark.anyio


def named(episode_id: str) -> EpisodeName:
    return EpisodeName(LOCAL_OWNER, episode_id)


async def test_the_window_of_the_cache_equals_the_window_of_the_record_at_every_step(serve):
    async with serve() as service:
        episode = await service.start(target_return=7)
        acting = service.lifecycle.acting
        for step in range(20):
            await service.act(episode, step, **content(step))
            cached = acting._cache.get(named(episode))
            acting._cache.drop(named(episode))
            [recalled] = await acting._recall.read([named(episode)])
            assert recalled.records is not None
            for name in ("step", "hop", "return_to_go"):
                assert getattr(recalled.live.window, name) == getattr(cached.window, name)
            for name in ("returns_to_go", "observations", "actions"):
                left, right = getattr(recalled.live.window, name), getattr(cached.window, name)
                # A record reaches back K timesteps, a standing window may begin later: both end alike.
                np.testing.assert_array_equal(left, right, strict=True)
            assert dataclasses.replace(recalled.live.meta, expires_at=0) == dataclasses.replace(
                cached.meta, expires_at=0
            )


async def test_a_cached_window_costs_no_read(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)

        async def unread(episode_ids):
            pytest.fail("the episode was read")

        monkeypatch.setattr(service.lifecycle.acting._episodes, "read", unread)
        await service.play(episode, 9, first=1)


async def test_episodes_asked_for_together_cost_one_read_while_the_device_is_busy(serve, held_engine, monkeypatch):
    async with serve(engine=held_engine) as service:
        busy, *episodes = [await service.start() for _ in range(6)]
        first = asyncio.create_task(service.act(busy, 0))
        await held_engine.holding.wait()
        acting, reads = service.lifecycle.acting, []
        read = acting._episodes.read

        async def counted(episode_ids):
            reads.append(list(episode_ids))
            return await read(episode_ids)

        monkeypatch.setattr(acting._episodes, "read", counted)
        seen = StepContent.of(ActRequest(observation=OBSERVATION, step=0))
        asked = [AskedStep(Caller(), episode, seen, time.monotonic(), math.inf) for episode in episodes]
        together = asyncio.create_task(acting.act_together(asked))
        await asyncio.sleep(0.1)
        assert reads == [[named(episode) for episode in episodes]]
        held_engine.let_go.set()
        assert [answer.step for answer in await together] == [0] * 5
        await first


async def test_a_torn_read_is_read_again(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        actions = await service.play(episode, 8)
        acting = service.lifecycle.acting
        acting._cache.drop(named(episode))
        read, tears = acting._episodes.read, iter(range(3))

        async def torn(episode_ids):
            stored = await read(episode_ids)
            if next(tears, None) is None:
                return stored
            behind = [
                dataclasses.replace(item.meta, committed_step=item.meta.committed_step - 1) for item in stored
            ]
            return [dataclasses.replace(item, meta=meta) for item, meta in zip(stored, behind, strict=True)]

        monkeypatch.setattr(acting._episodes, "read", torn)
        answer = (await service.act(episode, 7, **content(7))).json()
        assert answer["replayed"]
        assert answer["action"] == actions[7]
        assert next(tears, None) is None


async def test_a_record_that_never_holds_still_is_given_up_retryably(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 3)
        acting = service.lifecycle.acting
        read = acting._episodes.read

        async def always_torn(episode_ids):
            return [dataclasses.replace(item, ring=b"") for item in await read(episode_ids)]

        monkeypatch.setattr(acting._episodes, "read", always_torn)
        acting._cache.drop(named(episode))
        answer = await service.act(episode, 3, **content(3))
        assert answer.status_code == 503
        assert answer.json()["retryable"]
        monkeypatch.undo()
        assert (await service.act(episode, 3, **content(3))).status_code == 200


async def test_an_episode_goes_on_at_another_replica(serve):
    async with serve() as undisturbed, serve() as first, serve() as second:
        alone = await undisturbed.start(target_return=9)
        expected = await undisturbed.play(alone, 16)
        episode = await first.start(target_return=9)
        actions = []
        for step in range(16):
            actions += await (first if step % 3 else second).play(episode, step + 1, first=step)
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)


async def test_of_two_replicas_the_loser_answers_with_the_stored_record(serve, held_engine, monkeypatch):
    async with serve(engine=held_engine) as slow, serve() as fast:
        episode = await slow.start()
        late = asyncio.create_task(slow.act(episode, 0))
        await held_engine.holding.wait()
        infer = fast.lifecycle.engine.infer

        async def other(served, windows, episode_ids):
            return await infer(served, windows, episode_ids) + np.float32(
                0.25
            )  # as another machine's rounding, but visible

        monkeypatch.setattr(fast.lifecycle.engine, "infer", other)
        winner = (await fast.act(episode, 0)).json()
        held_engine.let_go.set()
        loser = (await late).json()
        assert not winner["replayed"]
        assert loser["replayed"]
        assert loser["action"] == winner["action"]
        assert slow.lifecycle.acting._cache.get(named(episode)) is None


async def test_of_two_replicas_with_other_content_the_loser_is_told(serve, held_engine):
    async with serve(engine=held_engine) as slow, serve() as fast:
        episode = await slow.start()
        late = asyncio.create_task(slow.act(episode, 0))
        await held_engine.holding.wait()
        assert (await fast.act(episode, 0, observation=[0.0] * 5)).status_code == 200
        held_engine.let_go.set()
        answer = await late
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:lamo:problem:content-changed"


async def test_a_cache_behind_the_record_is_noticed_and_read_again(serve):
    async with serve() as first, serve() as second:
        episode = await first.start()
        await first.play(episode, 3)
        await second.play(episode, 6, first=3)
        answer = (await first.act(episode, 3, **content(3))).json()  # what the first holds says: the next step
        assert answer["replayed"]
        answer = (await first.act(episode, 6, **content(6))).json()
        assert not answer["replayed"]


async def test_an_id_used_again_elsewhere_is_noticed_by_its_epoch(serve):
    async with serve() as first, serve() as second:
        episode = await first.start(target_return=20)
        await first.play(episode, 2)
        await second.client.delete(f"/episodes/{episode}")
        assert (await second.client.put(f"/episodes/{episode}", json={"target_return": 5})).status_code == 201
        await second.act(episode, 0)
        await second.act(episode, 1)
        answer = (await first.act(episode, 2)).json()
        assert answer["return_to_go"] == 5
        assert answer["committed_step"] == 2


async def test_an_episode_deleted_or_ended_elsewhere_is_noticed(serve):
    async with serve() as first, serve() as second:
        deleted, ended = await first.start(), await first.start()
        for episode in (deleted, ended):
            await first.play(episode, 2)
        await second.client.delete(f"/episodes/{deleted}")
        await second.end(ended, step=2)
        assert (await first.act(deleted, 2)).status_code == 404
        assert (await first.act(ended, 2)).status_code == 410


async def test_an_answer_lost_between_redis_and_the_service_is_given_by_the_repeated_request(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        episodes = service.lifecycle.acting._episodes
        commit = episodes.commit

        async def committed_but_unheard(commits):
            from lamo.errors import StoreUnavailable

            await commit(commits)
            raise StoreUnavailable("connection lost")

        monkeypatch.setattr(episodes, "commit", committed_but_unheard)
        assert (await service.act(episode, 0)).status_code == 503
        monkeypatch.undo()
        answer = (await service.act(episode, 0)).json()
        assert answer["replayed"]
        assert (await service.act(episode, 1)).status_code == 200


async def test_a_commit_that_ran_twice_counts_once_and_is_no_replay(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        episodes = service.lifecycle.acting._episodes
        commit = episodes.commit

        async def twice(commits):
            decisions = await commit(commits)
            assert decisions[0].verdict is Verdict.COMMITTED
            return await commit(commits)

        monkeypatch.setattr(episodes, "commit", twice)
        for step in range(4):
            answer = (await service.act(episode, step, **content(step))).json()
            assert not answer["replayed"]
        state = (await service.client.get(f"/episodes/{episode}")).json()
        assert state["episode_return"] == pytest.approx(0.6)


async def test_an_episode_stays_with_its_revision(serve, checkpoint_directory, tmp_path):
    import json
    import shutil

    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 2)
    newer = tmp_path / "policies" / "small"
    shutil.copytree(checkpoint_directory, newer)
    document = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps(document | {"target_returns": [40.0]}))
    async with serve(policies=newer.parent) as service:
        for answer in (await service.act(episode, 2, **content(2)), await service.end(episode, step=2)):
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:lamo:problem:revision-not-loaded"
        assert (await service.client.get(f"/episodes/{episode}")).json()["committed_step"] == 1


async def test_the_least_recently_used_window_is_given_up_and_read_again(serve):
    async with serve(cached_episodes=2) as service:
        episodes = [await service.start() for _ in range(4)]
        for step in range(3):
            for episode in episodes:
                answer = await service.act(episode, step, **content(step))
                assert answer.status_code == 200
        value = service.lifecycle.metrics.registry.get_sample_value
        assert value("lamo_cache_hits_total") == 0
        assert value("lamo_cache_misses_total") == 12
        labels = {"policy": "small", "revision": answer.json()["revision"]}
        assert value("lamo_active_episodes", labels) == 2
