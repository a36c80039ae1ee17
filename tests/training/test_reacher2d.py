"""The Reacher2d environment against the paper's description."""

from collections.abc import Callable, Iterator

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from training.reacher2d import Reacher2d

Observation = NDArray[np.float32]


@pytest.fixture
def environment() -> Iterator[gymnasium.Env[Observation, Observation]]:
    made = gymnasium.make("training.reacher2d:Reacher2d-v0")
    yield made
    made.close()


@pytest.fixture
def arm(environment: gymnasium.Env[Observation, Observation]) -> Reacher2d:
    bare = environment.unwrapped
    assert isinstance(bare, Reacher2d)
    return bare


def play(
    environment: gymnasium.Env[Observation, Observation], seed: int, act: Callable[[Observation], Observation]
) -> tuple[NDArray[np.float32], list[float]]:
    observation, _ = environment.reset(seed=seed)
    observations, rewards, over = [observation], [], False
    while not over:
        observation, reward, terminated, truncated, _ = environment.step(act(observation))
        observations.append(observation)
        rewards.append(float(reward))
        over = terminated or truncated
    return np.array(observations), rewards


def test_gymnasiums_checker_has_nothing_to_say(arm: Reacher2d) -> None:
    check_env(arm, skip_render_check=True)


def test_the_links_have_the_documented_masses(arm: Reacher2d) -> None:
    assert arm.model.body("shoulder").mass[0] == pytest.approx(5.236, abs=5e-4)
    assert arm.model.body("elbow").mass[0] == pytest.approx(3.665, abs=5e-4)


def test_a_step_lasts_15_physics_steps_of_10_ms_without_gravity(arm: Reacher2d) -> None:
    arm.reset(seed=0)
    arm.step(np.zeros(2, dtype=np.float32))
    assert arm.data.time == pytest.approx(0.15)
    assert not arm.model.opt.gravity.any()


def test_an_episode_is_truncated_after_100_steps_and_never_terminates(
    environment: gymnasium.Env[Observation, Observation],
) -> None:
    environment.reset(seed=0)
    ends = [environment.step(np.ones(2, dtype=np.float32))[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_the_observation_follows_its_formula_in_the_documented_order(arm: Reacher2d) -> None:
    arm.reset(seed=3)
    for _ in range(5):
        observation = arm.step(np.array([0.9, -0.4], dtype=np.float32))[0]
    angles, velocities = arm.data.qpos, arm.data.qvel
    shoulder = angles[0] + 0.785
    tip = 0.6 * np.array([np.cos(shoulder), np.sin(shoulder)])
    tip += 0.45 * np.array([np.cos(angles.sum()), np.sin(angles.sum())])
    target = arm.model.body("target").pos[:2]
    expected = [*np.sin(angles), *np.cos(angles), *(0.15 * velocities), *tip, *target, *(tip - target)]
    assert observation.dtype == np.float32
    np.testing.assert_allclose(observation, expected, atol=1e-6)


@pytest.mark.parametrize(("offset", "reward"), [((0.0999, 0.0), 1.0), ((0.06, 0.05), 0.0), ((0.05, -0.045), 1.0)])
def test_the_reward_is_1_within_an_l1_distance_of_a_tenth(
    arm: Reacher2d, offset: tuple[float, float], reward: float
) -> None:
    arm.reset(seed=1)
    tip = arm.data.site("fingertip").xpos[:2]
    arm.model.body("target").pos[:2] = tip + np.array(offset)
    _, earned, _, _, info = arm.step(np.zeros(2, dtype=np.float32))
    assert (earned, info["is_success"]) == (reward, bool(reward))
    assert info["distance"] == pytest.approx(np.abs(offset).sum(), abs=1e-6)


def test_resets_cover_the_documented_ranges(arm: Reacher2d) -> None:
    arm.reset(seed=0)
    angles, targets = [], []
    for _ in range(300):
        arm.reset()
        angles.append(arm.data.qpos.copy())
        targets.append(arm.model.body("target").pos[:2].copy())
        assert not arm.data.qvel.any()
    radii = np.linalg.norm(targets, axis=1)
    assert np.abs(angles).max() <= 2.0
    assert (np.min(angles), np.max(angles)) == pytest.approx((-2.0, 2.0), abs=0.1)
    assert radii.min() >= 0.5
    assert radii.max() <= 1.0
    # Uniform over a ring, the squared radius is uniform in [0.25, 1].
    assert (radii**2).mean() == pytest.approx(0.625, abs=0.05)


def test_the_same_seed_gives_the_same_episode_bit_for_bit(
    environment: gymnasium.Env[Observation, Observation],
) -> None:
    def episode(seed: int) -> NDArray[np.float32]:
        generator = np.random.default_rng(0)
        return play(environment, seed, lambda _: generator.uniform(-1, 1, 2).astype(np.float32))[0]

    first, other = episode(7), episode(8)
    assert np.array_equal(first, episode(7))
    assert not np.array_equal(first, other)


def test_torques_outside_the_bounds_act_as_the_bounds(arm: Reacher2d) -> None:
    arm.reset(seed=0)
    clipped = arm.step(np.array([1.0, -1.0], dtype=np.float32))[0]
    arm.reset(seed=0)
    assert np.array_equal(arm.step(np.array([50.0, -3.0], dtype=np.float32))[0], clipped)


def test_observations_stay_inside_the_space_when_every_torque_feeds_the_motion(
    environment: gymnasium.Env[Observation, Observation],
) -> None:
    for seed in range(5):
        observations, _ = play(environment, seed, lambda seen: np.sign(seen[4:6] + 1e-6).astype(np.float32))
        assert all(environment.observation_space.contains(observation) for observation in observations)


def test_a_random_policy_scores_about_a_half(environment: gymnasium.Env[Observation, Observation]) -> None:
    generator = np.random.default_rng(0)
    returns = [
        sum(play(environment, seed, lambda _: generator.uniform(-1, 1, 2).astype(np.float32))[1])
        for seed in range(100)
    ]
    assert 0.0 < np.mean(returns) < 1.5
