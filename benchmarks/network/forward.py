"""Forward: single passes of the inference network with everything prepared: what the arithmetic alone costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lamo.batch import Scaling
from lamo.config import PolicyConfig
from lamo.inference import InferenceNetwork, Memory, slot_bytes
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.packed import Packed, Rows, fill_rows, fill_tokens, pack, step_rows
from lamo.window import EpisodeWindow

Pass = Callable[[], Tensor]

Wrap = Callable[[InferenceNetwork], Callable[[Packed, Memory], Tensor]]


class Forward:
    """Passes over full windows of a policy's shape.

    Args:
        dtype: of the arithmetic.
    """

    def __init__(self, config: PolicyConfig, model: LamoModel, dtype: torch.dtype, rows: int) -> None:
        self._rows = rows
        self._scaling = Scaling(config, unit(config), dtype=dtype)
        self._network = InferenceNetwork(model)
        tokens = fill_tokens(config.context_length)
        self._memory = Memory(
            config.trunk,
            tokens=tokens,
            limit_bytes=rows * slot_bytes(config.trunk, tokens, dtype),
            device=torch.device("cpu"),
            dtype=dtype,
        )
        self._windows = full_windows(config, rows)

    def fill(self, wrap: Wrap | None = None) -> Pass:
        """Whole windows of K timesteps; gives [rows, action_dim]. `wrap` may compile the network."""
        return self._pass([fill_rows(self._windows, None)], wrap)

    def step(self, wrap: Wrap | None = None) -> Pass:
        """The newest of K timesteps, the others in slots; gives [rows, action_dim]."""
        slots = np.arange(self._rows)
        with torch.inference_mode():
            self._network(pack(self._scaling, [fill_rows(self._windows, slots)]), self._memory)
        return self._pass([step_rows(self._windows, slots)], wrap)

    def _pass(self, parts: Sequence[Rows], wrap: Wrap | None) -> Pass:
        packed = pack(self._scaling, parts)
        network = self._network if wrap is None else wrap(self._network)

        @torch.inference_mode()
        def run() -> Tensor:
            return network(packed, self._memory)

        return run


def full_windows(config: PolicyConfig, rows: int) -> list[EpisodeWindow]:
    """Windows of K timesteps, each of other numbers."""
    return [_full_window(config, np.random.default_rng(seed)) for seed in range(rows)]


def unit(config: PolicyConfig) -> Normalization:
    """Observations as they are."""
    return Normalization(np.zeros(config.observation.size), np.ones(config.observation.size))


def _full_window(config: PolicyConfig, generator: np.random.Generator) -> EpisodeWindow:
    window = EpisodeWindow.begin(
        config.target_returns[0],
        context_length=config.context_length,
        hop=config.context_length,
        observation_shape=config.observation.shape,
        action_dim=config.action.size,
    )
    for _ in range(config.context_length):
        window = window.observe(generator.standard_normal(config.observation.size).astype(np.float32), 1.0)
        window = window.propose(generator.uniform(-1, 1, config.action.size).astype(np.float32))
    return window
