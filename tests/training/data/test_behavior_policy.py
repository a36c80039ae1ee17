"""The scripted behavior policy and what it records."""

import gymnasium
import numpy as np
import pytest

from lamo.errors import ConfigError
from training.data.behavior_policy import BehaviorPolicy, Quality
from training.data.recording import episode_seeds, record_episodes

GOOD = Quality(stiffness=5.0, damping=1.0, noise=0.0, aim_error=(0.0, 0.0))


def play_well(environment: gymnasium.Env[np.ndarray, np.ndarray], seed: int) -> float:
    policy = BehaviorPolicy(GOOD, np.random.default_rng(0))
    observation, _ = environment.reset(seed=seed)
    episode_return = 0.0
    for _ in range(100):
        observation, reward, *_ = environment.step(policy.act(observation))
        episode_return += float(reward)
    return episode_return


def test_a_good_quality_scores_like_the_papers_controller() -> None:
    environment = gymnasium.make("training.reacher2d:Reacher2d-v0")
    returns = [play_well(environment, seed) for seed in range(60)]
    environment.close()
    assert np.mean(returns) == pytest.approx(47, abs=5)
    assert max(returns) > 75


def test_qualities_spread_from_hopeless_to_excellent_around_the_papers_mean() -> None:
    returns = record_episodes(episode_seeds(seed=0, episodes=150)).episode_returns
    # 2000 episodes give 35.8; the mean of 150 has a standard error of 2.2.
    assert returns.mean() == pytest.approx(36, abs=4)
    assert np.quantile(returns, 0.1) < 5
    assert np.quantile(returns, 0.9) > 65


def test_an_episode_follows_from_its_seed_alone() -> None:
    seeds = episode_seeds(seed=4, episodes=2)
    both, second = record_episodes(seeds), record_episodes(seeds[1:])
    assert np.array_equal(both[1].observations, second[0].observations)
    assert np.array_equal(both[1].actions, second[0].actions)
    assert BehaviorPolicy.for_episode(seeds[0]).quality != BehaviorPolicy.for_episode(seeds[1]).quality


def test_more_episodes_under_a_seed_only_add_to_the_list() -> None:
    assert episode_seeds(seed=9, episodes=50)[:3] == episode_seeds(seed=9, episodes=3)
    assert episode_seeds(seed=9, episodes=3) != episode_seeds(seed=10, episodes=3)


def test_recorded_actions_are_those_executed() -> None:
    seed = 11
    recorded = record_episodes([seed])[0]
    environment = gymnasium.make("training.reacher2d:Reacher2d-v0")
    observation, _ = environment.reset(seed=seed)
    for row, action, reward in zip(recorded.observations, recorded.actions, recorded.rewards, strict=True):
        assert np.array_equal(row, observation)
        observation, earned, *_ = environment.step(action)
        assert earned == reward
    environment.close()
    assert np.abs(recorded.actions).max() <= 1.0
    assert len(recorded) == 100
    assert not recorded.terminated


def test_aim_error_moves_the_point_the_arm_comes_to_rest_on() -> None:
    environment = gymnasium.make("training.reacher2d:Reacher2d-v0")
    aim = (0.15, 0.0)
    policy = BehaviorPolicy(Quality(5.0, 1.0, 0.0, aim), np.random.default_rng(0))
    observation, _ = environment.reset(seed=11)
    for _ in range(100):
        observation, *_ = environment.step(policy.act(observation))
    environment.close()
    np.testing.assert_allclose(observation[10:], aim, atol=0.02)


@pytest.mark.parametrize(("seed", "episodes"), [(-1, 5), (0, 0)])
def test_seeds_and_counts_that_make_no_sense_are_refused(seed: int, episodes: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot record {episodes} episodes under seed {seed}"):
        episode_seeds(seed, episodes)
