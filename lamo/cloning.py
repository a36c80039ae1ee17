"""BehaviorCloning: a network without memory or target, the plainest control; served like any other.

Two or three layers from the state to the action, as in the behavior cloning of the offline RL benchmarks (D4RL,
Fu et al. 2020, appendix; CORL, Tarasov et al. 2023): a ReLU after each, tanh at the end, stretched to the bounds.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from lamo.batch import Batch
from lamo.config import PolicyConfig
from lamo.errors import ConfigError


class BehaviorCloning(nn.Module):
    """States in, one action each out; returns-to-go, earlier actions and timesteps are not looked at."""

    middle: Tensor
    half_range: Tensor

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        if config.mlp is None:
            raise ConfigError(f"policy {config.task!r} has no mlp")
        widths = (config.observation.size, *config.mlp.hidden)
        layers = [part for pair in itertools.pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        self.predict_action = nn.Sequential(*layers, nn.Linear(widths[-1], config.action.size), nn.Tanh())
        low, high = (torch.tensor(bound, dtype=torch.float32) for bound in (config.action.low, config.action.high))
        self.register_buffer("middle", (high + low) / 2)
        self.register_buffer("half_range", (high - low) / 2)

    def forward(self, batch: Batch) -> Tensor:  # [batch, timesteps, action_dim]
        """The proposed action at every timestep."""
        actions: Tensor = self.middle + self.half_range * self.predict_action(batch.states)
        return actions

    def last_actions(self, batch: Batch) -> Tensor:  # [batch, action_dim]
        """The proposed action at the last real timestep of every row."""
        rows = torch.arange(len(batch.states), device=batch.states.device)
        states = batch.states[rows, batch.lengths - 1]
        actions: Tensor = self.middle + self.half_range * self.predict_action(states)
        return actions
