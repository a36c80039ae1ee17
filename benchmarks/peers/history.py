"""History: the windows of the episodes that a peer serves, kept in its memory, and how a batch advances them.

It is what the peers get for free: this project's policy and windows, with no store, no retries and no checks.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from lamo.policy import Policy
from lamo.window import EpisodeWindow

HOST = "127.0.0.1"

BATCH_LIMIT = 64
"""The batch limit of lamo-serve."""


class Step(BaseModel):
    """One step of an episode; step 0 begins it anew.

    `past` are the observations before it, where a server takes an episode over in its middle.
    """

    episode: str
    step: int
    observation: list[float]
    reward: float = 0.0
    past: list[list[float]] = []


class History:
    """Every episode's window, kept in memory.

    Attributes:
        policy: what is served.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._windows: dict[str, EpisodeWindow] = {}

    @classmethod
    def open(cls) -> History:
        """For the policy that the benchmark names in the environment."""
        policy = Policy.load(Path(os.environ["PEER_POLICY"]))
        policy.warm_up(BATCH_LIMIT)
        return cls(policy)

    def act(self, steps: Sequence[Step]) -> list[list[float]]:  # [len(steps)][action_dim]
        """Observe each step of a batch, ask the policy once, keep what it answered."""
        seen = [self._before(step).observe(_array(step.observation), step.reward) for step in steps]
        actions = self.policy.clip(self.policy.propose(seen))
        for step, window, action in zip(steps, seen, actions, strict=True):
            self._windows[step.episode] = window.propose(action)
        answer: list[list[float]] = actions.tolist()
        return answer

    def _before(self, step: Step) -> EpisodeWindow:
        if step.step > 0 and not step.past:
            return self._windows[step.episode]
        window = self.policy.begin(self.policy.config.target_returns[0])
        for observation in step.past:
            window = window.observe(_array(observation))
        return window


def port() -> int:
    """Where the benchmark's command line wants the server to listen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    return int(parser.parse_args().port)


def _array(observation: list[float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(observation, np.float32)
