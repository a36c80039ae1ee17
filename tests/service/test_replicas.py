"""Two services over one Redis: what one of them knows of an episode may be behind what the other did."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lamo import checkpoint
from lamo.config import ObservationSpace
from lamo.model import LamoModel
from lamo.normalization import Normalization
from tests.service.conftest import content

pytestmark = pytest.mark.anyio


async def test_an_id_used_again_elsewhere_for_a_policy_of_other_shapes_is_noticed(
    serve, checkpoint_directory, config, tmp_path
):
    (tmp_path / "small").symlink_to(checkpoint_directory)
    wide = dataclasses.replace(config, observation=ObservationSpace((7,)))
    checkpoint.write(
        tmp_path / "wide",
        wide,
        LamoModel(wide).state_dict(),
        Normalization(np.zeros(7), np.ones(7)),
        training={},
        card="# wide\n",
    )
    async with serve(policies=tmp_path) as first, serve(policies=tmp_path) as second:
        episode = await first.start(policy="small")
        await first.act(episode, 0)
        await second.client.delete(f"/episodes/{episode}")
        assert (await second.client.put(f"/episodes/{episode}", json={"policy": "wide"})).status_code == 201
        answer = await first.act(episode, 0, observation=[1.0] * 7)
        assert answer.status_code == 200, answer.text
        answer = await first.act(episode, 1)
        assert (answer.status_code, answer.json()["detail"]) == (
            422,
            "observation has shape [5], policy 'wide' takes [7]",
        )


async def test_a_step_left_out_means_the_next_one_whoever_took_the_last(serve):
    async with serve() as first, serve() as second:
        episode = await first.start()
        await first.play(episode, 2)
        await second.play(episode, 4, first=2)
        answer = (await first.act(episode, None, **content(2))).json()  # as step 2, and yet another step
        assert (answer["step"], answer["replayed"]) == (4, False)
        await second.act(episode, 5)
        answer = (await first.act(episode, None, reward=0.5)).json()
        assert (answer["step"], answer["replayed"]) == (6, False)
