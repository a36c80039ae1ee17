"""Batch: windows and subtrajectories as tensors; the one place that knows padding, scaling and token order.

A timestep is three tokens, in the order return-to-go, state, action; the action is read at the state's token,
which by causality does not see it. Shorter rows are padded at the end, where a causal trunk sees nothing of it,
so no attention mask is needed inside the network: padded equals unpadded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamo.config import PolicyConfig
from lamo.normalization import Normalization
from lamo.window import EpisodeWindow


@dataclass(frozen=True)
class Batch:
    """What the network takes.

    Attributes:
        returns_to_go: [batch, timesteps, 1], divided by the return scale.
        states: [batch, timesteps, observation_dim], normalised.
        actions: [batch, timesteps, action_dim], raw.
        timesteps: [batch, timesteps] int64, the timestep within the episode.
        lengths: [batch] int64, real timesteps of each row.
    """

    returns_to_go: Tensor
    states: Tensor
    actions: Tensor
    timesteps: Tensor
    lengths: Tensor

    @property
    def attention_mask(self) -> Tensor:
        """[batch, timesteps] bool, true at real timesteps: where the action loss counts."""
        positions = torch.arange(self.timesteps.shape[1], device=self.lengths.device)
        return positions < self.lengths[:, None]

    def part(self, index: int, parts: int) -> Batch:
        """One of so many nearly equal parts of the rows, in their order."""
        tensors = (self.returns_to_go, self.states, self.actions, self.timesteps, self.lengths)
        return Batch(*(tensor.tensor_split(parts)[index] for tensor in tensors))


class Scaling:
    """Turns raw numbers into what the network takes: returns by the return scale, observations to states."""

    def __init__(
        self,
        config: PolicyConfig,
        normalization: Normalization,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.return_scale = config.return_scale
        self.device = torch.device(device)
        self.dtype = dtype
        self.mean = torch.tensor(normalization.mean, dtype=torch.float32, device=device)
        self.std = torch.tensor(normalization.std, dtype=torch.float32, device=device)

    def batch(
        self,
        returns_to_go: NDArray[np.float64],  # [batch, timesteps], raw
        observations: NDArray[np.float32],  # [batch, timesteps, observation_dim], raw
        actions: NDArray[np.float32],  # [batch, timesteps, action_dim]
        timesteps: NDArray[np.int64],  # [batch, timesteps]
        lengths: NDArray[np.int64],  # [batch]
    ) -> Batch:
        """The tensors of padded rows, on the device. Arithmetic is float32 whatever the network computes in."""
        return Batch(
            returns_to_go=self.returns(returns_to_go).unsqueeze(-1),
            states=self.states(observations),
            actions=self.actions(actions),
            timesteps=self._to_device(torch.from_numpy(timesteps)),
            lengths=self._to_device(torch.from_numpy(lengths)),
        )

    def returns(
        self,
        returns_to_go: NDArray[np.float64],  # [...], raw
    ) -> Tensor:  # [...]
        """Divided by the return scale, in float64."""
        return self._to_device(torch.from_numpy(self.scaled(returns_to_go))).to(self.dtype)

    def scaled(
        self,
        returns_to_go: NDArray[np.float64],  # [...], raw
    ) -> NDArray[np.float32]:  # [...]
        """Divided by the return scale, in float64; still on this machine."""
        return (returns_to_go / self.return_scale).astype(np.float32)

    def states(
        self,
        observations: NDArray[np.float32],  # [..., observation_dim], raw
    ) -> Tensor:  # [..., observation_dim]
        """Normalised, in float32."""
        return self.normalized(self._to_device(torch.from_numpy(observations)))

    def normalized(
        self,
        observations: Tensor,  # [..., observation_dim] float32, raw, on the device
    ) -> Tensor:  # [..., observation_dim]
        """Normalised, in float32."""
        return ((observations - self.mean) / self.std).to(self.dtype)

    def actions(
        self,
        actions: NDArray[np.float32],  # [..., action_dim]
    ) -> Tensor:  # [..., action_dim]
        """As they are."""
        return self._to_device(torch.from_numpy(actions)).to(self.dtype)

    def collate(self, windows: Sequence[EpisodeWindow]) -> Batch:
        """The tensors of live windows, padded to the longest of them."""
        longest = max(len(window.returns_to_go) for window in windows)
        returns_to_go = np.zeros((len(windows), longest), np.float64)
        observations = np.zeros((len(windows), longest, *windows[0].observations.shape[1:]), np.float32)
        actions = np.zeros((len(windows), longest, windows[0].actions.shape[1]), np.float32)
        steps = np.zeros((len(windows), longest), np.int64)
        lengths = np.zeros(len(windows), np.int64)
        for row, window in enumerate(windows):
            length = len(window.returns_to_go)
            returns_to_go[row, :length] = window.returns_to_go
            observations[row, :length] = window.observations
            actions[row, :length] = window.actions
            steps[row, :length] = np.arange(window.start, window.step + 1)
            lengths[row] = length
        return self.batch(returns_to_go, observations, actions, steps, lengths)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return to_device(tensor, self.device)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of this machine's memory on a device, without waiting for it."""
    if device.type == "cuda":  # from memory that may be paged out, a copy makes the caller wait
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def stack_tokens(
    returns_to_go: Tensor,  # [batch, timesteps, n_embd]
    states: Tensor,  # [batch, timesteps, n_embd]
    actions: Tensor,  # [batch, timesteps, n_embd]
) -> Tensor:  # [batch, timesteps, 3, n_embd]
    """Token order (R_0, s_0, a_0, R_1, s_1, a_1, ...), the three of a timestep still apart."""
    return torch.stack((returns_to_go, states, actions), dim=2)


def state_token(
    timesteps: Tensor,  # [...] int64, within the batch
) -> Tensor:  # [...] int64
    """Positions of the tokens at which the actions of these timesteps are read."""
    return 3 * timesteps + 1
