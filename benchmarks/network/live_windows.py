"""Live windows: a batch of episodes in the middle of their lives, at different steps, asked for in process."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from network.roofline import Row, Work

from lamo.config import PolicyConfig
from lamo.policy import Policy
from lamo.window import EpisodeWindow, window_start


def long_lived(config: PolicyConfig) -> PolicyConfig:
    """The policy with episodes that outlast a measurement; a longer timestep table costs nothing."""
    return dataclasses.replace(config, timestep_table_size=1 << 14, max_timesteps=1 << 14)


class LiveWindows:
    """So many full windows, started one step after another, so that their refills spread over the steps."""

    def __init__(self, policy: Policy, rows: int) -> None:
        config = policy.config
        generator = np.random.default_rng(0)
        self._policy = policy
        self._observations = generator.standard_normal((64, *config.observation.shape)).astype(np.float32)
        self._windows = [self._begun(config.context_length + row % config.hop) for row in range(rows)]

    def _begun(self, steps: int) -> EpisodeWindow:
        """A window after so many steps, without asking the policy."""
        window = self._policy.begin(self._policy.config.target_returns[0])
        action = np.zeros(self._policy.config.action.size, np.float32)
        for step in range(steps):
            window = window.observe(self._observations[step % 64]).propose(action)
        return window

    def step(self) -> float:
        """Seconds that the policy takes for the next action of every episode."""
        seen = [window.observe(self._observations[window.step % 64]) for window in self._windows]
        began = time.perf_counter()
        actions = self._policy.propose(seen, range(len(seen)))
        took = time.perf_counter() - began
        held = self._policy.clip(actions)
        self._windows = [window.propose(action) for window, action in zip(seen, held, strict=True)]
        return took

    def cycle(self) -> float:
        """Seconds per step over as many steps as every window needs to have been filled anew once."""
        hop = self._policy.config.hop
        return sum(self.step() for _ in range(hop)) / hop

    def work(self, itemsize: int) -> Work:
        """What one cycle cannot do without."""
        config = self._policy.config
        total = Work(0, 0)
        for later in range(1, config.hop + 1):
            rows = [_row(window.step + later, config) for window in self._windows]
            total += Work.of(config.trunk, rows, itemsize)
        return total


def _row(step: int, config: PolicyConfig) -> Row:
    start = window_start(step, config.context_length, config.hop)
    stood_still = start == window_start(step - 1, config.context_length, config.hop)
    return (Row.step if stood_still else Row.fill)(step + 1 - start)


def measure_cycles(live: LiveWindows, seconds: float) -> float:
    """Seconds per step of the fastest cycle, after one that fills the slots."""
    live.step()
    end = time.perf_counter() + seconds
    best = live.cycle()
    while time.perf_counter() < end:
        best = min(best, live.cycle())
    return best
