"""Reproducible mode over HTTP: the same bits alone, among neighbours, after a restart, and in process."""

from __future__ import annotations

import asyncio

import pytest

from lamo.policy import Policy
from tests.service.conftest import in_process

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
