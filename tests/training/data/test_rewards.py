"""Rewards in one unit: what training conditions on is what the environment pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamo.errors import DatasetError
from training.data import hdf5
from training.data.rewards import delayed, differenced
from training.data.sampling import SubtrajectorySampler, returns_to_go
from training.data.trajectories import Trajectories, Trajectory
from training.environments import make_environment
from training.kitchen import Kitchen


def paying(*rewards: float) -> Trajectories:
    steps = len(rewards)
    zeros = np.zeros((steps, 2), np.float32)
    return Trajectories((Trajectory(zeros, zeros, np.array(rewards, np.float64), False),), name="kitchen")


@pytest.mark.parametrize(
    ("counts", "paid"),
    [
        ((0, 0, 1, 1, 2, 4), (0, 0, 1, 0, 1, 2)),
        ((1, 1, 2), (1, 0, 1)),
        ((0, 1, 0, 1, 2, 1, 2), (0, 1, 0, 0, 1, 0, 0)),
        ((3,), (3,)),
    ],
    ids=["solved one by one", "solved at the first step", "undone and solved again", "one step"],
)
def test_differences_pay_each_task_once(counts: tuple[float, ...], paid: tuple[float, ...]) -> None:
    given = paying(*counts)
    assert differenced(given)[0].rewards.tolist() == list(paid)
    assert given[0].rewards.tolist() == list(counts)


@pytest.mark.parametrize("reward", [0.5, -1.0, float("nan"), float("inf")])
def test_rewards_that_are_no_counts_are_refused_by_number(reward: float) -> None:
    with pytest.raises(DatasetError, match=f"kitchen pays {reward:g} in trajectory 0: not a number"):
        differenced(paying(0, reward))


def test_delayed_rewards_have_the_same_sum_and_a_constant_return_to_go() -> None:
    late = delayed(paying(1.0, -0.5, 2.0))[0]
    assert late.rewards.tolist() == [0.0, 0.0, 2.5]
    assert returns_to_go(late).tolist() == [2.5, 2.5, 2.5]


def kitchen_episode(
    environment: Kitchen, seed: int, solved_at: dict[int, dict[int, float]]
) -> tuple[Trajectory, float]:
    """40 steps of chance, objects put to their goals by hand: paid as in D4RL's files, and its return."""
    generator = np.random.default_rng(seed)
    observation, _ = environment.reset(seed=seed)
    observations, actions, counts, episode_return = [], [], [], 0.0
    for step in range(40):
        for index, position in solved_at.get(step, {}).items():
            environment.simulator.data.qpos[index] = position
        action = generator.uniform(-0.3, 0.3, 9).astype(np.float32)
        observations.append(observation)
        actions.append(action)
        observation, reward, _, _, info = environment.step(action)
        counts.append(float(len(info["completed"])))
        episode_return += reward
    return Trajectory(np.array(observations), np.array(actions), np.array(counts), False), episode_return


def test_training_and_evaluation_on_kitchen_live_in_the_same_range(tmp_path: Path) -> None:
    microwave, light, slide, kettle = {22: -0.75}, {17: -0.69, 18: -0.05}, {19: 0.37}, {23: -0.23, 24: 0.75}
    episodes = [
        {},
        {3: microwave, 20: {22: 0.0}, 25: microwave},
        {0: light, 10: slide},
        {2: microwave, 5: light, 6: slide, 7: kettle},
    ]
    environment = make_environment("training.kitchen:KitchenComplete-v0").unwrapped
    assert isinstance(environment, Kitchen)
    played = [kitchen_episode(environment, seed, solved_at) for seed, solved_at in enumerate(episodes)]
    environment.close()
    recorded, paid = zip(*played, strict=True)
    file = tmp_path / "kitchen.hdf5"
    hdf5.write(file, Trajectories(recorded, name="kitchen-complete"), {})
    data = hdf5.read(file)
    assert data.observation_shape == (60,)
    assert data.episode_returns.max() > 100  # as the file pays: another unit than the environment's
    in_one_unit = differenced(data)
    assert in_one_unit.episode_returns.tolist() == list(paid) == [0.0, 1.0, 2.0, 4.0]
    drawn = SubtrajectorySampler(in_one_unit, 20, np.random.default_rng(0)).draw(500).returns_to_go
    assert drawn.min() == 0.0
    assert drawn.max() == 4.0
