"""OfflineData: the trajectories of a run, those trained on and those held out, with rewards in the task's unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from training.data import rewards, sources
from training.data.trajectories import Trajectories
from training.learning.config import TrainConfig

HOLD_OUT_STREAM = 3
"""The draw of held-out trajectories disturbs no other."""


@dataclass(frozen=True)
class OfflineData:
    """What a run reads.

    Attributes:
        trained: trajectories that are trained on.
        held_out: those that are not, to see overfitting by; None where none are held out.
        sample_ratio: share of the data set that was chosen, before any of it was held out.
        indices: of the trained ones in the data set, ascending.
        held_out_indices: of the held-out ones in the data set, ascending.
    """

    trained: Trajectories
    held_out: Trajectories | None
    sample_ratio: float
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
            indices, sample_ratio = complete.draw_indices(config.sample_ratio, config.seed), config.sample_ratio
        else:
            indices = np.unique(sources.read_indices(config.indices))
            sample_ratio = len(indices) / len(complete)
        held_out = _held_out(indices, len(complete), config.hold_out, config.seed)
        trained = np.setdiff1d(indices, held_out)
        if len(trained) == 0:
            raise ConfigError(f"hold_out {config.hold_out} of {len(complete)} trajectories leaves none to train on")
        return cls(
            trained=_in_unit(complete.subset(trained), config),
            held_out=_in_unit(complete.subset(held_out), config) if len(held_out) else None,
            sample_ratio=sample_ratio,
            indices=trained,
            held_out_indices=held_out,
        )


def _in_unit(trajectories: Trajectories, config: TrainConfig) -> Trajectories:
    if config.task.rewards == "differences":
        trajectories = rewards.differenced(trajectories)
    return rewards.delayed(trajectories) if config.delayed_reward else trajectories


def _held_out(
    used: NDArray[np.int64],  # [used], ascending
    count: int,
    share: float,
    seed: int,
) -> NDArray[np.int64]:  # ascending
    """Which of `count` trajectories are held out, at least one where any are to be, drawn under the run's seed.

    First those that a down-sampled run does not use anyway: then nothing is lost, and what is held out is a share
    of the whole data set even where next to nothing is trained on. Only what is missing is taken from the used.
    """
    if share == 0 or count == 1:  # a single demonstration is trained on: there is nothing to compare it with
        return used[:0]
    wanted = max(1, round(share * count))
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(HOLD_OUT_STREAM,)))
    unused = generator.permutation(np.setdiff1d(np.arange(count), used))[:wanted]
    missing = generator.permutation(used)[: wanted - len(unused)]
    return np.sort(np.concatenate([unused, missing])).astype(np.int64)
