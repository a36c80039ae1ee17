"""Rewards put into the unit that is trained on: differences of a running total, or all at the last step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.trajectories import Trajectories

Rewards = NDArray[np.float64]  # [T]


def differenced(trajectories: Trajectories) -> Trajectories:
    """Pays each task once, where the data pays the number of solved tasks at every step (D4RL's Kitchen).

    A task that is undone and solved again is not paid again: what counts is the highest number so far.
    """
    return _changed(trajectories, lambda rewards: np.diff(np.maximum.accumulate(rewards), prepend=0.0))


def delayed(trajectories: Trajectories) -> Trajectories:
    """Moves all reward of an episode to its last step, as the "delayed" mode of the Decision Transformer."""

    def last(rewards: Rewards) -> Rewards:
        moved = np.zeros_like(rewards)
        moved[-1] = rewards.sum()
        return moved

    return _changed(trajectories, last)


def _changed(trajectories: Trajectories, change: Callable[[Rewards], Rewards]) -> Trajectories:
    changed = (dataclasses.replace(item, rewards=change(item.rewards)) for item in trajectories)
    return dataclasses.replace(trajectories, trajectories=tuple(changed))
