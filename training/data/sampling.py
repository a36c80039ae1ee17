"""Draws training cuts, subtrajectories, out of a data set: seeded, and without a loop over samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.data.trajectories import Trajectories, Trajectory

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Subtrajectories:
    """A batch of B cuts of K timesteps, raw; what lies past the end of an episode is zero and masked.

    Attributes:
        observations: float32 [B, K, *observation_shape].
        actions: float32 [B, K, action_dim].
        returns_to_go: float64 [B, K]; the sum of the rewards from that timestep to the end, its own included.
        timesteps: int64 [B, K]; index within the episode.
        attention_mask: bool [B, K]; True = a real timestep. Real ones come first in each row.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    returns_to_go: NDArray[np.float64]
    timesteps: NDArray[np.int64]
    attention_mask: NDArray[np.bool_]


class SubtrajectorySampler:
    """Draws trajectories in proportion to their length and a start uniform over their timesteps 0..T-1.

    Together that is one uniform draw over all timesteps of the data set, which is how it is done. A cut that
    reaches the end of its episode stops there.

    Args:
        trajectories: the data set; its arrays are joined once, here.
        context_length: K, timesteps of one cut.
        generator: the sampler's own; nobody else may draw from it if a run is to resume exactly.
    """

    def __init__(self, trajectories: Trajectories, context_length: int, generator: np.random.Generator) -> None:
        self.context_length = context_length
        self._generator = generator
        self._observations = np.concatenate([trajectory.observations for trajectory in trajectories])
        self._actions = np.concatenate([trajectory.actions for trajectory in trajectories])
        self._returns_to_go = np.concatenate([returns_to_go(trajectory) for trajectory in trajectories])
        lengths = trajectories.lengths
        ends = np.cumsum(lengths)
        self._timesteps = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)  # [steps]
        self._end_of_episode = np.repeat(ends, lengths)  # [steps]

    def draw(self, batch_size: int) -> Subtrajectories:
        """The next `batch_size` cuts."""
        starts = self._generator.integers(0, len(self._timesteps), size=batch_size)
        return self.cut(starts)

    def cut(
        self,
        starts: NDArray[np.int64],  # [B]
    ) -> Subtrajectories:
        """The cuts that begin at these steps, counted through the whole data set."""
        steps = starts[:, None] + np.arange(self.context_length)  # [B, K]
        mask = steps < self._end_of_episode[starts][:, None]
        steps = np.where(mask, steps, starts[:, None])  # any step that exists: its values are zeroed
        return Subtrajectories(
            observations=_zero_padding(self._observations[steps], mask),
            actions=_zero_padding(self._actions[steps], mask),
            returns_to_go=_zero_padding(self._returns_to_go[steps], mask),
            timesteps=_zero_padding(self._timesteps[steps], mask),
            attention_mask=mask,
        )

    @property
    def steps(self) -> int:
        """Timesteps of the data set, each of which a cut can begin at."""
        return len(self._timesteps)

    @property
    def generator_state(self) -> Mapping[str, object]:
        """Where the drawing stands; JSON can hold it (Python's JSON: its integers have 128 bits)."""
        return self._generator.bit_generator.state

    @generator_state.setter
    def generator_state(self, state: Mapping[str, object]) -> None:
        self._generator.bit_generator.state = state


def returns_to_go(trajectory: Trajectory) -> NDArray[np.float64]:  # [T]
    """Raw rewards still to come at each timestep, that timestep's own included."""
    return np.cumsum(trajectory.rewards[::-1])[::-1]


def _zero_padding(
    values: NDArray[_Number],  # [B, K, ...]
    mask: NDArray[np.bool_],  # [B, K]
) -> NDArray[_Number]:
    values[~mask] = 0
    return values
