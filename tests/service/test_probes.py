"""What the service says about itself: probes, policies, metrics, timing."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.callers import NO_LIMITS
from service.store.embedded import redis_executable
from tests.service.conftest import content
from tests.service.redis_servers import RunningRedis, running_redis

pytestmark = pytest.mark.anyio


async def test_while_policies_load_the_service_is_healthy_but_not_ready(checkpoint_directory, redis_url):
    from service.policies.engine import Engine
    from service.processes.app import create_app
    from service.settings import Settings

    release = threading.Event()

    class SlowLoading(Engine):
        def _load(self, found):
            release.wait(10)
            return super()._load(found)

    app = create_app(
        Settings(policies=checkpoint_directory.parent, redis_url=redis_url),
        engine=SlowLoading(checkpoint_directory.parent, batch_limit=2),
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        assert (await client.get("/healthz")).json()["status"] == "ok"
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        for answer in (await client.post("/episodes"), await client.get("/policies")):
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:lamo:problem:not-ready"
            assert int(answer.headers["retry-after"]) >= 1
        release.set()
        await app.state.lifecycle.wait_opened()
        assert (await client.get("/readyz")).json()["status"] == "ready"
        assert (await client.post("/episodes")).status_code == 201


async def test_health_fails_when_work_waits_and_nothing_is_finished(serve, held_engine, monkeypatch):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        request = asyncio.create_task(service.act(episode, 0))
        await held_engine.holding.wait()
        assert (await service.client.get("/healthz")).status_code == 200
        monkeypatch.setattr("service.processes.lifecycle.STALL_SECONDS", 0.05)
        await asyncio.sleep(0.1)
        answer = await service.client.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (503, "stalled")
        held_engine.let_go.set()
        await request
        await asyncio.sleep(0.1)
        assert (await service.client.get("/healthz")).status_code == 200  # nothing waits


async def test_what_is_prepared_for_a_device_that_hangs_is_no_progress(serve, held_engine, monkeypatch):
    async with serve(engine=held_engine) as service:
        first, second = await service.start(), await service.start()
        requests = [asyncio.create_task(service.act(first, 0))]
        await held_engine.holding.wait()
        monkeypatch.setattr("service.processes.lifecycle.STALL_SECONDS", 0.1)
        await asyncio.sleep(0.15)
        requests.append(asyncio.create_task(service.act(second, 0)))
        await asyncio.sleep(0.02)
        assert (await service.client.get("/healthz")).status_code == 503
        held_engine.let_go.set()
        assert [(await request).status_code for request in requests] == [200, 200]


async def test_policies_are_described_as_their_config_says(serve, config, normalization):
    async with serve() as service:
        listed = (await service.client.get("/policies")).json()
        assert listed["api_version"] == "1"
        [info] = listed["policies"]
        assert info == (await service.client.get("/policies/small")).json()
        assert info == (await service.client.get(f"/policies/small@{info['revision']}")).json()
        assert info["observation"]["shape"] == [5]
        assert info["observation"]["mean"] == normalization.mean.tolist()
        assert (info["action"]["low"], info["action"]["high"]) == ([-1.0, -0.5], [1.0, 0.5])
        for name in ("context_length", "hop", "return_scale", "max_timesteps", "task"):
            assert info[name] == getattr(config, name)
        answer = await service.client.get("/policies/large")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:lamo:problem:unknown-policy")


async def test_one_of_several_policies_has_to_be_named(serve, checkpoint_directory, tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).symlink_to(checkpoint_directory)
    async with serve(policies=tmp_path) as service:
        answer = await service.client.post("/episodes")
        assert answer.status_code == 404
        assert "left, right" in answer.json()["detail"]
        episodes = [await service.start(policy=name) for name in ("left", "right")]
        answers = await asyncio.gather(*(service.act(episode, 0) for episode in episodes))
        assert [answer.json()["policy"] for answer in answers] == ["left", "right"]


async def test_an_answer_says_where_its_time_went(serve):
    async with serve() as service:
        answer = await service.act(await service.start(), 0)
        timing = answer.json()["timing"]
        parts = [timing[f"{part}_ms"] for part in ("queue", "recall", "infer", "commit")]
        assert all(part > 0 for part in parts)
        assert sum(parts) <= timing["total_ms"]
        assert timing["batch_size"] == 1
        assert f"infer;dur={timing['infer_ms']:.3f}" in answer.headers["server-timing"]


async def test_an_answer_says_what_was_clipped_and_how_unusual_the_observation_is(
    serve, checkpoint_directory, normalization, tmp_path
):
    narrow = tmp_path / "policies" / "narrow"
    shutil.copytree(checkpoint_directory, narrow)
    document = json.loads((narrow / "config.json").read_text())
    document["action"] |= {"low": [-0.1, -0.1], "high": [0.1, 0.1]}
    (narrow / "config.json").write_text(json.dumps(document))
    async with serve(policies=narrow.parent) as service:
        clipped = set()
        for observation in np.random.default_rng(3).normal(scale=4, size=(30, 5)).tolist():
            answer = (await service.act(await service.start(), 0, observation=observation)).json()
            deviation = np.abs((np.array(observation) - normalization.mean) / normalization.std).max()
            assert answer["observation_zscore"] == pytest.approx(deviation)
            held = [index for index, value in enumerate(answer["action"]) if abs(value) == np.float32(0.1)]
            assert answer["clipped"] == held
            clipped |= set(answer["clipped"])
        assert clipped  # the scripted observations reach a bound


async def test_metrics_count_what_happened_and_not_the_warm_up(serve):
    async with serve() as service:
        assert "lamo_infer_seconds_count 0.0" in (await service.client.get("/metrics")).text
        episode = await service.start()
        await service.play(episode, 3)
        await service.act(episode, 9)
        await service.act(episode, 0)
        await service.client.get("/episodes/nobody")
        value = service.lifecycle.metrics.registry.get_sample_value
        assert value("lamo_steps_total") == 3
        assert value("lamo_infer_seconds_count") == value("lamo_batch_size_count") == 3
        assert value("lamo_commit_seconds_count") == 3
        assert value("lamo_replays_total") == 0
        assert value("lamo_conflicts_total") == 1
        assert value("lamo_refusals_total", {"reason": "step-conflict"}) == 1
        assert value("lamo_refusals_total", {"reason": "unknown-episode"}) == 1
        assert value("lamo_act_seconds_count", {"policy": "small", "owner": "local", "code": "200"}) == 3
        assert value("lamo_cache_hits_total") == 2
        assert value("lamo_redis_up") == 1
        text = (await service.client.get("/metrics")).text
        for name in (
            "lamo_queue_seconds_count",
            "lamo_queue_depth",
            "lamo_recall_seconds_count",
            "lamo_active_episodes{",
            "lamo_policy_info{",
        ):
            assert name in text


async def test_inference_does_not_keep_the_probes_waiting(serve, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        policy = service.lifecycle.engine.find("small", NO_LIMITS).policy
        propose = policy.propose

        def slow(windows, names=None):
            time.sleep(0.5)
            return propose(windows)

        monkeypatch.setattr(policy, "propose", slow)
        request = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert (await service.client.get("/healthz")).status_code == 200
        assert time.monotonic() - began < 0.35
        assert not request.done()
        assert (await request).status_code == 200


async def answered(ask: Callable[..., Awaitable[httpx.Response]], *arguments: object, **fields: object) -> int:
    """The status that ends a series of 503s."""
    async with asyncio.timeout(20):
        while (answer := await ask(*arguments, **fields)).status_code == 503:
            await asyncio.sleep(0.05)
    return answer.status_code


def url_of(redis: RunningRedis) -> str:
    return f"redis://127.0.0.1:{redis.port}"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    with running_redis(redis_executable(), tmp_path / "redis", "--appendonly", "yes") as redis:
        yield redis


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "hung"])
async def test_without_redis_acts_are_refused_but_the_service_stays_in_the_balancer(serve, own_redis, fault):
    async with serve(redis_url=url_of(own_redis), store_timeout_seconds=0.3) as service:
        redis_up = partial(service.lifecycle.metrics.registry.get_sample_value, "lamo_redis_up")
        episode = await service.start()
        await service.play(episode, 3)
        assert redis_up() == 1
        own_redis.signal(fault)
        answer = await service.act(episode, 3, **content(3))
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:lamo:problem:store-unavailable")
        assert answer.json()["retryable"]
        assert redis_up() == 0
        assert (await service.client.get("/readyz")).json()["status"] == "ready"
        assert (await service.client.get("/healthz")).json()["status"] == "ok"
        own_redis.start_again()
        assert await answered(service.act, episode, 3, **content(3)) == 200
        assert redis_up() == 1


async def test_acts_that_redis_keeps_waiting_are_no_stall(serve, own_redis, monkeypatch):
    async with serve(redis_url=url_of(own_redis), store_timeout_seconds=0.2) as service:
        episode = await service.start()
        monkeypatch.setattr(
            "service.processes.lifecycle.STALL_SECONDS", 0.5
        )  # more than the store may take, as in reality
        own_redis.signal(signal.SIGSTOP)
        told = time.monotonic() + 1
        while time.monotonic() < told:
            assert (await service.act(episode, 0)).status_code == 503
            assert (await service.client.get("/healthz")).status_code == 200


async def test_a_service_that_finds_no_redis_when_it_starts_is_ready_all_the_same(serve, own_redis):
    own_redis.kill()
    async with serve(redis_url=url_of(own_redis)) as service:
        assert (await service.client.get("/readyz")).json()["status"] == "ready"
        assert (await service.client.put("/episodes/robot", json={})).status_code == 503
        own_redis.start_again()
        assert await answered(service.client.put, "/episodes/robot", json={}) == 201
