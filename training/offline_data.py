"""OfflineData: the trajectories of a run, those trained on and those held out, with rewards in the task's unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from training import rewards, sources
from training.config import TrainConfig
from training.trajectories import Trajectories

HOLD_OUT_STREAM = 3
"""The draw of held-out trajectories disturbs no other."""


@dataclass(frozen=True)
class OfflineData:
    """What a run reads.

    Attributes:
        trained: trajectories that are trained on.
        held_out: those that are not, to see overfitting by; None where none are held out.
        indices: of both in the data set, ascending: what `sample_ratio` and `indices` chose.
        held_out_indices: of the held-out ones in the data set, ascending.
    """

    trained: Trajectories
    held_out: Trajectories | None
    indices: NDArray[np.int64]
    held_out_indices: NDArray[np.int64]

    @classmethod
    def read(cls, config: TrainConfig) -> OfflineData:
        """Read the data set of a run, and choose and split its trajectories.

        Raises:
            InputError: the data cannot be read, or does not hold what was chosen.
        """
        complete = sources.read(config.dataset)
        if config.indices is None:
            indices = complete.draw_indices(config.sample_ratio, config.seed)
        else:
            indices = np.sort(sources.read_indices(config.indices))
        in_unit = _in_unit(complete.subset(indices), config)
        held_out = _held_out(len(indices), config.hold_out, config.seed)  # [used] bool
        if not held_out.any():
            return cls(in_unit, None, indices, indices[held_out])
        trained, kept = in_unit.subset(np.flatnonzero(~held_out)), in_unit.subset(np.flatnonzero(held_out))
        return cls(trained, kept, indices, indices[held_out])


def _in_unit(trajectories: Trajectories, config: TrainConfig) -> Trajectories:
    if config.task.rewards == "differences":
        trajectories = rewards.differenced(trajectories)
    return rewards.delayed(trajectories) if config.delayed_reward else trajectories


def _held_out(count: int, share: float, seed: int) -> NDArray[np.bool_]:  # [count]
    """Which trajectories are held out: at least one where any are to be, drawn under the run's seed.

    Raises:
        ConfigError: nothing would be left to train on.
    """
    if share == 0 or count == 1:  # a single demonstration is trained on: there is nothing to compare it with
        return np.zeros(count, np.bool_)
    wanted = max(1, round(share * count))
    if wanted >= count:
        raise ConfigError(f"hold_out {share} of {count} trajectories leaves none to train on")
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(HOLD_OUT_STREAM,)))
    held_out = np.zeros(count, np.bool_)
    held_out[generator.choice(count, size=wanted, replace=False)] = True
    return held_out
