"""The vectorised sampler against the slow obvious loop, its distribution, and its resumption."""

import json

import numpy as np
import pytest

from training.data.sampling import Subtrajectories, SubtrajectorySampler, returns_to_go
from training.data.trajectories import Trajectories, Trajectory

LENGTHS = (1, 7, 3, 12)


@pytest.fixture
def trajectories() -> Trajectories:
    generator = np.random.default_rng(0)
    return Trajectories(
        tuple(
            Trajectory(
                observations=generator.normal(size=(length, 2, 3)).astype(np.float32),
                actions=generator.normal(size=(length, 2)).astype(np.float32),
                rewards=generator.normal(size=length),
                terminated=True,
            )
            for length in LENGTHS
        ),
        name="small",
    )


def slow_cut(trajectories: Trajectories, start: int, context_length: int) -> Subtrajectories:
    """One cut, [1, K, ...], the obvious way."""
    places = [(episode, step) for episode in range(len(LENGTHS)) for step in range(LENGTHS[episode])]
    index, first = places[start]
    trajectory = trajectories[index]
    cut = Subtrajectories(
        observations=np.zeros((1, context_length, 2, 3), dtype=np.float32),
        actions=np.zeros((1, context_length, 2), dtype=np.float32),
        returns_to_go=np.zeros((1, context_length)),
        timesteps=np.zeros((1, context_length), dtype=np.int64),
        attention_mask=np.zeros((1, context_length), dtype=bool),
    )
    for k in range(context_length):
        step = first + k
        if step < len(trajectory):
            cut.observations[0, k] = trajectory.observations[step]
            cut.actions[0, k] = trajectory.actions[step]
            cut.returns_to_go[0, k] = sum(trajectory.rewards[step:])
            cut.timesteps[0, k] = step
            cut.attention_mask[0, k] = True
    return cut


@pytest.mark.parametrize("context_length", [1, 4, 20])
def test_every_cut_equals_the_slow_obvious_loops(trajectories: Trajectories, context_length: int) -> None:
    sampler = SubtrajectorySampler(trajectories, context_length, np.random.default_rng(0))
    cuts = sampler.cut(np.arange(sum(LENGTHS)))
    slow = [slow_cut(trajectories, start, context_length) for start in range(sum(LENGTHS))]
    for name in ("observations", "actions", "timesteps", "attention_mask", "returns_to_go"):
        expected = np.concatenate([getattr(cut, name) for cut in slow])
        actual = getattr(cuts, name)
        assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-12)


def test_the_return_to_go_includes_the_timesteps_own_reward() -> None:
    trajectory = Trajectory(
        np.zeros((3, 1), np.float32), np.zeros((3, 1), np.float32), np.array([1.0, 2.0, 4.0]), True
    )
    assert returns_to_go(trajectory).tolist() == [7.0, 6.0, 4.0]


def test_every_trajectory_and_start_is_equally_likely(trajectories: Trajectories) -> None:
    sampler = SubtrajectorySampler(trajectories, 1, np.random.default_rng(3))
    draws = 23_000
    seen = sampler.draw(draws).observations[:, 0, 0, 0]
    every = np.concatenate([trajectory.observations[:, 0, 0] for trajectory in trajectories])
    counts = np.array([(seen == value).sum() for value in every])
    assert counts.sum() == draws
    # Chi-square with 22 degrees of freedom: above 48.3 once in a thousand.
    assert ((counts - 1000) ** 2 / 1000).sum() < 48.3


def test_the_same_generator_draws_the_same_cuts(trajectories: Trajectories) -> None:
    one = SubtrajectorySampler(trajectories, 4, np.random.default_rng(1)).draw(16)
    two = SubtrajectorySampler(trajectories, 4, np.random.default_rng(1)).draw(16)
    assert np.array_equal(one.observations, two.observations)


def test_a_state_saved_as_json_resumes_exactly(trajectories: Trajectories) -> None:
    sampler = SubtrajectorySampler(trajectories, 4, np.random.default_rng(1))
    sampler.draw(5)
    saved = json.dumps(sampler.generator_state)
    expected = sampler.draw(16)
    resumed = SubtrajectorySampler(trajectories, 4, np.random.default_rng(99))
    resumed.generator_state = json.loads(saved)
    assert np.array_equal(resumed.draw(16).observations, expected.observations)


def test_drawing_leaves_the_data_set_unchanged(trajectories: Trajectories) -> None:
    before = [trajectory.observations.copy() for trajectory in trajectories]
    SubtrajectorySampler(trajectories, 20, np.random.default_rng(1)).draw(64)
    assert all(np.array_equal(old, now.observations) for old, now in zip(before, trajectories, strict=True))
