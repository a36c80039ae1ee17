"""InProcess: the policy alone, used as the service uses it: the most that a service could reach."""

from __future__ import annotations

import time
from collections.abc import Sequence

from load.closed_loop import draw_observations, filled_steps

from lamo.policy import Policy
from lamo.window import EpisodeWindow


class InProcess:
    """So many episodes with full windows, advanced in batches as large as the service's largest."""

    def __init__(self, policy: Policy, episodes: int, batch_limit: int) -> None:
        self._policy = policy
        self._batch_limit = batch_limit
        self._observations = draw_observations(policy.config, seed=0)
        self._windows = [self._filled(filled_steps(policy.config, index)) for index in range(episodes)]
        self._steps = 0

    def steps_per_second(self, seconds: float) -> float:
        """The speed over at least this long, after one first step of all episodes that fills the slots."""
        if not self._steps:
            self._advance()
        steps, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            self._advance()
            steps += len(self._windows)
        return steps / (time.perf_counter() - began)

    def _advance(self) -> None:
        """One step of every episode; where one is over, another begins."""
        for first in range(0, len(self._windows), self._batch_limit):
            batch = slice(first, first + self._batch_limit)
            names = range(first, first + len(self._windows[batch]))
            self._windows[batch] = self._next(self._windows[batch], names)
        self._steps += 1

    def _next(self, windows: Sequence[EpisodeWindow], names: Sequence[int]) -> list[EpisodeWindow]:
        config, observation = self._policy.config, self._observations[self._steps % len(self._observations)]
        seen = [self._continued(window, config.max_timesteps).observe(observation) for window in windows]
        actions = self._policy.clip(self._policy.propose(seen, names))
        return [window.propose(action) for window, action in zip(seen, actions, strict=True)]

    def _continued(self, window: EpisodeWindow, max_timesteps: int) -> EpisodeWindow:
        return self._begin() if window.step + 1 == max_timesteps else window

    def _filled(self, steps: int) -> EpisodeWindow:
        """A window after so many steps, without asking the policy."""
        window = self._begin()
        for step in range(steps):
            window = window.observe(self._observations[step % len(self._observations)])
        return window

    def _begin(self) -> EpisodeWindow:
        return self._policy.begin(self._policy.config.target_returns[0])
