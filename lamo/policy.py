"""Policy: a checkpoint on a device; episode windows in, proposed actions out."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from lamo.batch import Scaling
from lamo.checkpoint import Checkpoint
from lamo.cloning import BehaviorCloning
from lamo.config import PolicyConfig
from lamo.errors import ConfigError
from lamo.linear import computing_dtype
from lamo.model import LamoModel
from lamo.network import Network, build
from lamo.normalization import Normalization
from lamo.passes import Passes
from lamo.window import Actions, EpisodeWindow

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

SLOT_BYTES = 1 << 30
"""Room for 250 live windows of 20 timesteps of GPT-2 small in float32, for thousands of a small network."""

WARM_UP_ROWS = (1, 2, 8)
"""On a CPU a shape seen first costs a millisecond; a whole batch of a large network would cost seconds."""


class Policy:
    """A merged network ready to act.

    In `reproducible` mode every forward pass holds one window, unpadded, so that an action is the same bits
    whoever asks at the same time, in process and behind the service, on machines of one type with one number of
    threads. A fixed batch shape would be faster but is not enough: on a CPU attention gives one row other bits
    than another (docs/decisions/0002).

    Args:
        slot_bytes: memory for the keys and values of live windows, so that one that stands still costs its new
            tokens alone; 0 computes every window whole. Reproducible mode keeps none.
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
        slot_bytes: int = 0,
    ) -> None:
        if dtype not in DTYPES:
            raise ConfigError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        self.config = config
        self.normalization = normalization
        self.revision = revision
        self.dtype = dtype
        self.reproducible = reproducible
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self.low = np.array(config.action.low, np.float32)
        self.high = np.array(config.action.high, np.float32)
        self.device = torch.device(device)
        rounded = model.to(device=device, dtype=DTYPES[dtype]).eval().requires_grad_(False)
        computing = computing_dtype(self.device, DTYPES[dtype])
        scaling = Scaling(config, normalization, device, computing)
        self._proposing = _proposing(rounded.to(computing), config, scaling, 0 if reproducible else slot_bytes)

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        reproducible: bool = False,
        slot_bytes: int = 0,
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
            slot_bytes=slot_bytes,
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

    def propose(
        self, windows: Sequence[EpisodeWindow], names: Sequence[Hashable] | None = None
    ) -> NDArray[np.float32]:
        """The action the network proposes for each window, not yet clipped: [len(windows), action_dim].

        `names` tells whose windows these are, for the slots; each is named once. Actions depend on the windows
        alone. Rows may be not finite if the network is broken; whoever asks has to look.
        """
        if not self.reproducible:
            return self._proposing(windows, names)
        return np.concatenate([self._proposing([window], None) for window in windows])

    def clip(
        self,
        actions: Actions,  # [..., action_dim]
    ) -> Actions:  # [..., action_dim]
        """Proposed actions held at the action space's bounds: what is executed unless a safety layer objects."""
        held: Actions = np.minimum(np.maximum(actions, self.low), self.high)  # np.clip takes twice the time
        return held

    def warm_up(self, largest_batch: int) -> None:
        """Run shapes that serving will use once, so that no request pays for first-call costs."""
        for _ in self.warming_up(largest_batch):
            pass

    def warming_up(self, largest_batch: int) -> Iterator[None]:
        """`warm_up` in short pieces, between which other policies may have the device."""
        # Graphs pad windows: other bits than in process, where nobody warms a policy up.
        if isinstance(self._proposing, Passes) and not self.reproducible:
            yield from self._proposing.capture(largest_batch)
        windows = self._longest_windows(np.random.default_rng(0))
        for rows in WARM_UP_ROWS:
            if rows <= largest_batch:
                self.propose([windows[-1]] * rows)
                yield
                for window in windows[-2:]:
                    self.propose([window] * rows, [("warm-up", row) for row in range(rows)])
                    yield

    def _longest_windows(self, generator: np.random.Generator) -> list[EpisodeWindow]:
        window = self.begin(self.config.target_returns[0])
        size, action_dim = self.config.observation.size, self.config.action.size
        windows = []
        for _ in range(min(self.config.context_length, self.config.max_timesteps)):
            noise = generator.standard_normal(size)
            observation = self.normalization.mean + noise * self.normalization.std
            window = window.observe(observation.astype(np.float32).reshape(self.config.observation.shape))
            windows.append(window)
            window = window.propose(self.clip(generator.standard_normal(action_dim).astype(np.float32)))
        return windows


class Proposing(Protocol):
    """Windows and their names in, proposed actions out, [len(windows), action_dim]."""

    def __call__(self, windows: Sequence[EpisodeWindow], names: Sequence[Hashable] | None) -> NDArray[np.float32]:
        """The actions."""
        ...


class _Cloned:
    """Behavior cloning has nothing to remember."""

    def __init__(self, model: BehaviorCloning, scaling: Scaling) -> None:
        self._model = model
        self._scaling = scaling

    @torch.inference_mode()
    def __call__(self, windows: Sequence[EpisodeWindow], names: Sequence[Hashable] | None) -> NDArray[np.float32]:
        batch = self._scaling.collate(windows)
        actions: NDArray[np.float32] = self._model.last_actions(batch).float().cpu().numpy()
        return actions


def _proposing(model: Network, config: PolicyConfig, scaling: Scaling, slot_bytes: int) -> Proposing:
    return Passes(model, config, scaling, slot_bytes) if isinstance(model, LamoModel) else _Cloned(model, scaling)
