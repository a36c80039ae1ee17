"""Recorded episodes: one trajectory, and a data set of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError, DatasetError


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One recorded episode of T >= 1 steps.

    Attributes:
        observations: float32 [T, *observation_shape], raw; row t is what action t was chosen on.
        actions: float32 [T, action_dim], as executed.
        rewards: float64 [T], raw; entry t was earned by action t.
        terminated: the environment ended the episode; False: truncated, by a time limit or the recording.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: bool

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def episode_return(self) -> float:
        """Sum of the raw rewards."""
        return float(self.rewards.sum())


@dataclass(frozen=True, eq=False)
class Trajectories:
    """A data set for offline reinforcement learning: at least one trajectory, and where they came from.

    Attributes:
        trajectories: in the order of the file; a subset keeps the order of its indices.
        name: short name for reports and scores: `hopper-medium` of a file, `d4rl:hopper-medium-v2` of a registry.
        source: the name that `training.data.sources.read` takes; empty for trajectories made in memory.
        sha256: hash of that whole file, or of a Minari set's files, in hexadecimal; a subset keeps its source's;
            empty in memory.
        attributes: what the source says about itself, as text. These are understood: `environment` (see
            `training.data.environment_spec`), `names` and `units` (JSON objects with lists `observations` and
            `actions`), `step_seconds`, `reference_random` and `reference_expert`.
    """

    trajectories: tuple[Trajectory, ...]
    name: str
    source: str = ""
    sha256: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.trajectories)

    def __getitem__(self, index: int) -> Trajectory:
        return self.trajectories[index]

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.trajectories)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each trajectory, [trajectories]."""
        return np.array([len(trajectory) for trajectory in self.trajectories], dtype=np.int64)

    @property
    def episode_returns(self) -> NDArray[np.float64]:
        """Sum of raw rewards of each trajectory, [trajectories]."""
        return np.array([trajectory.episode_return for trajectory in self.trajectories], dtype=np.float64)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.trajectories[0].observations.shape[1:]

    @property
    def action_dim(self) -> int:
        """Length of one action."""
        return int(self.trajectories[0].actions.shape[1])

    def draw_indices(self, sample_ratio: float, seed: int) -> NDArray[np.int64]:
        """Ascending indices of a down-sampled set: uniform over trajectories, without replacement.

        `round(sample_ratio * trajectories)` of them, at least one. The same seed gives the same indices;
        save them beside whatever is trained on them.

        Raises:
            ConfigError: the ratio is outside (0, 1].
        """
        if not 0.0 < sample_ratio <= 1.0:
            raise ConfigError(f"sample ratio is {sample_ratio}; it is a share of the trajectories, in (0, 1]")
        count = max(1, round(sample_ratio * len(self)))
        drawn = np.random.default_rng(seed).choice(len(self), size=count, replace=False)
        return np.sort(drawn).astype(np.int64)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> Trajectories:
        """The trajectories at `indices`, in that order.

        Raises:
            DatasetError: no index, or one outside the data set.
        """
        outside = [int(index) for index in indices if not 0 <= index < len(self)]
        if outside or len(indices) == 0:
            asked = f"trajectory {outside[0]}" if outside else "no trajectory at all"
            raise DatasetError(f"{asked} was asked of data set {self.name!r}, which has {len(self)}, from 0")
        return replace(self, trajectories=tuple(self.trajectories[index] for index in indices))
