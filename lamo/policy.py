"""Policy: a checkpoint on a device; episode windows in, proposed actions out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lamo.batch import Scaling
from lamo.checkpoint import Checkpoint
from lamo.config import PolicyConfig
from lamo.errors import ConfigError
from lamo.network import Network, build
from lamo.normalization import Normalization
from lamo.window import Actions, EpisodeWindow

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Policy:
    """A merged network ready to act.

    In `reproducible` mode every forward pass holds one window, unpadded, so that an action is the same bits
    whoever asks at the same time, in process and behind the service, on machines of one type with one number of
    threads. A fixed batch shape would be faster but is not enough: on a CPU attention gives one row other bits
    than another (docs/decisions/0002).
    """

    def __init__(
        self,
        config: PolicyConfig,
        normalization: Normalization,
        model: Network,
        *,
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        reproducible: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        self.config = config
        self.normalization = normalization
        self.revision = revision
        self.dtype = dtype
        self.reproducible = reproducible
        self.model = model.to(device=device, dtype=DTYPES[dtype]).eval().requires_grad_(False)
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.low = np.array(config.action.low, np.float32)
        self.high = np.array(config.action.high, np.float32)
        self._scaling = Scaling(config, normalization, device, DTYPES[dtype])

    @classmethod
    def load(
        cls, directory: Path, *, device: str = "cpu", dtype: str = "float32", reproducible: bool = False
    ) -> Policy:
        """The policy of a checkpoint directory.

        Raises:
            CheckpointError: the directory is not a whole checkpoint.
            ConfigError: the dtype is unknown.
        """
        checkpoint = Checkpoint.read(directory)
        with torch.device("meta"):
            model = build(checkpoint.config)
        model.load_state_dict(checkpoint.tensors, assign=True)
        return cls(
            checkpoint.config,
            checkpoint.normalization,
            model,
            revision=checkpoint.revision,
            device=device,
            dtype=dtype,
            reproducible=reproducible,
        )

    def begin(self, target_return: float, hop: int | None = None) -> EpisodeWindow:
        """The empty window of an episode; `hop` overrides the policy's own."""
        return EpisodeWindow.begin(
            target_return,
            context_length=self.config.context_length,
            hop=self.config.hop if hop is None else hop,
            observation_shape=self.config.observation.shape,
            action_dim=self.config.action.size,
            observation_dtype=self.config.observation.dtype,
            delayed_reward=self.config.delayed_reward,
        )

    def propose(self, windows: Sequence[EpisodeWindow]) -> NDArray[np.float32]:
        """The action the network proposes for each window, not yet clipped: [len(windows), action_dim].

        Rows may be not finite if the network is broken; whoever asks has to look.
        """
        if not self.reproducible:
            return self._forward(windows)
        return np.concatenate([self._forward([window]) for window in windows])

    def clip(
        self,
        actions: Actions,  # [..., action_dim]
    ) -> Actions:  # [..., action_dim]
        """Proposed actions held at the action space's bounds: what is executed unless a safety layer objects."""
        held: Actions = np.minimum(np.maximum(actions, self.low), self.high)  # np.clip takes twice the time
        return held

    def warm_up(self, largest_batch: int) -> None:
        """Run the shapes serving will use once, so that no request pays for first-call costs."""
        window = self._longest_window(np.random.default_rng(0))
        batch = 1
        while batch < largest_batch:
            self.propose([window] * batch)
            batch *= 2
        self.propose([window] * largest_batch)

    def _longest_window(self, generator: np.random.Generator) -> EpisodeWindow:
        window = self.begin(self.config.target_returns[0])
        size, action_dim = self.config.observation.size, self.config.action.size
        for _ in range(min(self.config.context_length, self.config.max_timesteps)):
            noise = generator.standard_normal(size)
            observation = self.normalization.mean + noise * self.normalization.std
            window = window.observe(observation.astype(np.float32).reshape(self.config.observation.shape))
            window = window.propose(self.clip(generator.standard_normal(action_dim).astype(np.float32)))
        return window

    @torch.inference_mode()
    def _forward(self, windows: Sequence[EpisodeWindow]) -> NDArray[np.float32]:
        actions: NDArray[np.float32] = self.model.last_actions(self._scaling.collate(windows)).float().cpu().numpy()
        return actions
