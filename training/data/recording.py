"""Plays Reacher2d episodes with the scripted behavior policy and records them as trajectories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from training.data.behavior_policy import BehaviorPolicy
from training.data.trajectories import Trajectories, Trajectory

BEHAVIOR_POLICY = "scripted Jacobian-transpose PD, mixed quality (training.data.behavior_policy)"


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """The environment seeds of a data set; more episodes under the same seed only add to the list.

    Raises:
        ConfigError: a negative seed, or fewer than one episode.
    """
    if seed < 0 or episodes < 1:
        raise ConfigError(f"cannot record {episodes} episodes under seed {seed}: at least 1, and a seed from 0")
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(episodes)]


def record_episodes(seeds: Iterable[int]) -> Trajectories:
    """One Reacher2d trajectory of the mixed behavior policy for each environment seed, in their order."""
    environment: gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]
    environment = gymnasium.make("training.reacher2d:Reacher2d-v0")
    try:
        trajectories = tuple(record_episode(environment, seed) for seed in seeds)
    finally:
        environment.close()
    return Trajectories(trajectories, name="reacher2d")


def record_episode(
    environment: gymnasium.Env[NDArray[np.float32], NDArray[np.float32]],
    seed: int,
) -> Trajectory:
    """The whole episode that begins with `environment.reset(seed=seed)`."""
    policy = BehaviorPolicy.for_episode(seed)
    observation, _ = environment.reset(seed=seed)
    steps: list[tuple[NDArray[np.float32], NDArray[np.float32], float]] = []
    terminated = truncated = False
    while not (terminated or truncated):
        action = policy.act(observation)
        following, reward, terminated, truncated, _ = environment.step(action)
        steps.append((observation, action, float(reward)))
        observation = following
    return _trajectory(steps, terminated)


def _trajectory(
    steps: Sequence[tuple[NDArray[np.float32], NDArray[np.float32], float]], terminated: bool
) -> Trajectory:
    observations, actions, rewards = zip(*steps, strict=True)
    return Trajectory(np.stack(observations), np.stack(actions), np.array(rewards, dtype=np.float64), terminated)
