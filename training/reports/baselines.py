"""What a policy that knows nothing earns: actions drawn uniformly within the bounds, on given episodes."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
from numpy.typing import NDArray

from lamo.errors import SimulatorError
from lamo.rollout import Ending, EpisodePlan, Turn, play
from lamo.window import Actions
from training.environments import make_environment
from training.tasks.task import Task


class RandomAgent:
    """Draws every action uniformly within the bounds; each episode has a generator of its own."""

    def __init__(self, low: Actions, high: Actions) -> None:
        self.low, self.high = low, high
        self._generators: dict[int, np.random.Generator] = {}

    def start(self, episodes: Sequence[tuple[int, EpisodePlan]]) -> None:
        """Seed every episode's generator with its environment's seed."""
        for episode, plan in episodes:
            self._generators[episode] = np.random.default_rng(plan.seed)

    def act(self, turns: Sequence[Turn]) -> Sequence[Actions]:
        """One random action per turn."""
        return [self._generators[turn.episode].uniform(self.low, self.high).astype(np.float32) for turn in turns]

    def end(self, endings: Sequence[Ending]) -> None:
        """Forget the generators."""
        for ending in endings:
            del self._generators[ending.episode]


def random_returns(task: Task, seeds: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns and lengths [episodes] of the random policy on the episodes of these environment seeds."""
    environment = task.environment
    if environment is None:
        raise SimulatorError(f"task {task.name!r} has no environment to play in")
    space = make_environment(environment).action_space
    if not isinstance(space, gymnasium.spaces.Box):
        raise SimulatorError(f"environment {environment!r} takes {space}, not vectors within bounds")
    results = play(
        RandomAgent(space.low, space.high),
        lambda: make_environment(environment),
        [EpisodePlan(target_return=0.0, seed=seed) for seed in seeds],
        parallel=1,
        max_timesteps=task.max_episode_length,
    )
    returns = np.array([result.episode_return for result in results], np.float64)
    return returns, np.array([result.episode_length for result in results], np.int64)
