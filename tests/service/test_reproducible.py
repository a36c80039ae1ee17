"""Reproducible mode over HTTP: the same bits alone, among neighbours, after a restart, and in process."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from lamo import checkpoint
from lamo.policy import Policy
from tests.service.conftest import content, in_process

pytestmark = pytest.mark.anyio

STEPS = 14


async def test_an_action_is_the_same_bits_in_any_company(serve, checkpoint_directory):
    async with serve(reproducible=True) as service:
        alone = await service.play(await service.start(target_return=20), STEPS)
        neighbours = [await service.start(target_return=float(n)) for n in range(11)]
        watched = await service.start(target_return=20)
        together, *_ = await asyncio.gather(
            service.play(watched, STEPS), *(service.play(episode, STEPS - 2) for episode in neighbours)
        )
        sizes = service.lifecycle.metrics.registry.get_sample_value("lamo_batch_size_sum")
        assert sizes > service.lifecycle.metrics.registry.get_sample_value("lamo_batch_size_count")
    assert together == alone

    assert alone == in_process(Policy.load(checkpoint_directory, reproducible=True), STEPS)


async def test_an_action_is_the_same_bits_after_a_restart(serve):
    async with serve(reproducible=True) as service:
        undisturbed = await service.play(await service.start(target_return=20), STEPS)
        episode = await service.start(target_return=20)
        actions = await service.play(episode, 5)
    for first in range(5, STEPS, 4):
        async with serve(reproducible=True) as service:
            actions += await service.play(episode, min(first + 4, STEPS), first=first)
    assert actions == undisturbed


async def test_a_policy_of_delayed_rewards_keeps_its_target_served_and_in_process(
    serve, tmp_path, config, model, normalization
):
    late = dataclasses.replace(config, delayed_reward=True)
    for name, shape in (("late", late), ("soon", config)):
        checkpoint.write(
            tmp_path / name, shape, model.state_dict(), normalization, training={}, card="# for tests\n"
        )
    policy = Policy.load(tmp_path / "late", reproducible=True)
    actions = []
    for first in range(0, STEPS, 5):
        async with serve(reproducible=True, policies=tmp_path) as service:
            if first == 0:
                episode = await service.start(policy="late", target_return=20)
                other = await service.start(policy="soon", target_return=20)
                assert await service.play(other, STEPS) != in_process(policy, STEPS)
            actions += await service.play(episode, min(first + 5, STEPS), first=first)
    assert actions == in_process(policy, STEPS)

    earned = sum(content(step).get("reward", 0.0) for step in range(STEPS))
    async with serve(policies=tmp_path) as service:
        before = (await service.client.get(f"/episodes/{episode}")).json()
        summary = (await service.end(episode, step=STEPS, reward=2.0, terminated=True)).json()
        after = (await service.client.get(f"/episodes/{episode}")).json()
    assert before["return_to_go"] == after["return_to_go"] == 20.0
    assert before["episode_return"] == pytest.approx(earned)
    assert summary["episode_return"] == pytest.approx(earned + 2.0)
