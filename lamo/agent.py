"""PolicyAgent: a policy with the memory of its episodes, acting in this process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamo.errors import ActionNotFinite
from lamo.policy import Policy
from lamo.rollout import Ending, EpisodePlan, Turn
from lamo.window import Actions, EpisodeWindow


class PolicyAgent:
    """Plays `lamo.rollout` with a policy in this process; all episodes of a round share one forward pass."""

    def __init__(self, policy: Policy, hop: int | None = None) -> None:
        self.policy = policy
        self.hop = hop
        self._windows: dict[int, EpisodeWindow] = {}

    def start(self, episodes: Sequence[tuple[int, EpisodePlan]]) -> None:
        """Give every episode an empty window."""
        for episode, plan in episodes:
            self._windows[episode] = self.policy.begin(plan.target_return, self.hop)

    def act(self, turns: Sequence[Turn]) -> Sequence[Actions]:
        """One clipped action per turn.

        Raises:
            ActionNotFinite: the policy's output is not finite.
        """
        windows = [self._windows[turn.episode].observe(turn.observation, turn.reward) for turn in turns]
        proposed = self.policy.propose(windows, [turn.episode for turn in turns])
        if not np.isfinite(proposed).all():
            raise ActionNotFinite(f"policy {self.policy.config.task!r} proposed an action that is not finite")
        actions = self.policy.clip(proposed)
        for turn, window, action in zip(turns, windows, actions, strict=True):
            self._windows[turn.episode] = window.propose(action)
        return list(actions)

    def end(self, endings: Sequence[Ending]) -> None:
        """Forget the windows of these episodes."""
        for ending in endings:
            del self._windows[ending.episode]
