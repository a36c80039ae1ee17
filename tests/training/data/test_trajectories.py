"""Trajectories, their statistics and their down-sampling."""

import numpy as np
import pytest

from lamo.errors import ConfigError, DatasetError
from training.data.trajectories import Trajectories, Trajectory


def trajectory(length: int, reward: float = 1.0) -> Trajectory:
    generator = np.random.default_rng(length)
    return Trajectory(
        observations=generator.normal(5.0, 2.0, (length, 3)).astype(np.float32),
        actions=generator.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=np.full(length, reward),
        terminated=False,
    )


@pytest.fixture
def hundred() -> Trajectories:
    return Trajectories(tuple(trajectory(length) for length in range(1, 101)), "hundred", sha256="abc")


def test_lengths_returns_and_sizes_are_those_of_the_trajectories(hundred: Trajectories) -> None:
    assert hundred.lengths.tolist() == list(range(1, 101))
    assert hundred.episode_returns.tolist() == [float(length) for length in range(1, 101)]
    assert (hundred.observation_shape, hundred.action_dim) == ((3,), 2)


@pytest.mark.parametrize(("ratio", "count"), [(1.0, 100), (0.3, 30), (0.005, 1), (0.015, 2)])
def test_the_sample_ratio_is_a_share_of_trajectories_and_at_least_one(
    hundred: Trajectories, ratio: float, count: int
) -> None:
    indices = hundred.draw_indices(ratio, seed=0)
    assert len(indices) == len(set(indices.tolist())) == count
    assert indices.tolist() == sorted(indices.tolist())


def test_the_same_seed_draws_the_same_trajectories(hundred: Trajectories) -> None:
    first = hundred.draw_indices(0.1, seed=5).tolist()
    assert hundred.draw_indices(0.1, seed=5).tolist() == first
    assert hundred.draw_indices(0.1, seed=6).tolist() != first


def test_every_trajectory_is_drawn_equally_often_whatever_its_length(hundred: Trajectories) -> None:
    drawn = np.concatenate([hundred.draw_indices(0.1, seed=seed) for seed in range(2000)])
    counts = np.bincount(drawn, minlength=100)
    # Binomial(2000, 0.1): mean 200, standard deviation 13.4; five of those cover 100 counts.
    assert np.abs(counts - 200).max() < 67


def test_a_subset_holds_the_trajectories_in_the_order_asked(hundred: Trajectories) -> None:
    subset = hundred.subset([4, 2])
    assert subset.lengths.tolist() == [5, 3]
    assert (subset.name, subset.sha256) == ("hundred", "abc")


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.01, float("nan")])
def test_a_ratio_that_is_no_share_is_refused(hundred: Trajectories, ratio: float) -> None:
    with pytest.raises(ConfigError, match=f"sample ratio is {ratio}"):
        hundred.draw_indices(ratio, seed=0)


@pytest.mark.parametrize(
    ("indices", "asked"),
    [([0, 100], "trajectory 100"), ([-1], "trajectory -1"), ([], "no trajectory at all")],
)
def test_indices_outside_the_data_set_are_refused(hundred: Trajectories, indices: list[int], asked: str) -> None:
    with pytest.raises(DatasetError, match=f"{asked} was asked of data set 'hundred', which has 100"):
        hundred.subset(indices)
