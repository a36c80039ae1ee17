"""PolicyConfig: everything about a policy that is not a weight or a statistic; saved with the weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

from lamo.errors import ConfigError
from lamo.fields import build
from lamo.scores import ReferenceReturns

FORMAT_VERSION = 1
"""Version of `config.json`. Readers refuse a version they do not know."""

MAX_SIZE = 2**24
"""Of anything counted in a config: what a file only claims is refused before a network is built of it."""

MOST = MappingProxyType({"n_layer": 1024, "context_length": 65_536})
"""Of what costs time or memory for each one, before the weights have been looked at."""

Embedding = Literal["mlp", "linear"]
TimestepOrder = Literal["after_norm", "before_norm"]
Activation = Literal["gelu_new", "gelu", "gelu_pytorch_tanh", "relu", "silu", "tanh"]
ObservationDtype = Literal["float32", "uint8"]
ActionDtype = Literal["float32", "int64"]


@dataclass(frozen=True)
class ObservationSpace:
    """What the environment emits.

    `dtype` uint8 is for images: the record keeps them as they are, but no model takes them yet.
    """

    shape: tuple[int, ...]
    dtype: ObservationDtype = "float32"
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        """Numbers in one observation."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class ActionSpace:
    """What the environment takes; proposed actions are clipped to `low` and `high`, executed ones are not.

    `dtype` int64 is for discrete actions; no model proposes them yet.
    """

    shape: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    dtype: ActionDtype = "float32"
    names: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None

    @property
    def size(self) -> int:
        """Numbers in one action."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TrunkConfig:
    """The shape of a GPT-2 trunk, in the words of `transformers`' GPT2Config."""

    n_layer: int
    n_head: int
    n_embd: int
    n_inner: int
    activation_function: Activation = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False

    def __post_init__(self) -> None:
        _at_least_one(self, "n_layer", "n_head", "n_embd", "n_inner")
        if self.n_embd % self.n_head:
            raise ConfigError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")
        if self.activation_function not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise ConfigError(f"activation_function {self.activation_function!r} is not one of {known}")
        if not 0 < self.layer_norm_epsilon < math.inf:
            raise ConfigError(f"layer_norm_epsilon {self.layer_norm_epsilon} is not a positive number")
        for name in ("scale_attn_weights", "scale_attn_by_inverse_layer_idx"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}, not true or false")


@dataclass(frozen=True)
class MlpConfig:
    """The shape of a network without memory: a ReLU after each of its hidden layers, which are this wide."""

    hidden: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.hidden) > MOST["n_layer"]:
            raise ConfigError(f"mlp.hidden has {len(self.hidden)} layers, at most {MOST['n_layer']} are taken")
        if not self.hidden or any(type(width) is not int or not 1 <= width <= MAX_SIZE for width in self.hidden):
            raise ConfigError(f"mlp.hidden is {self.hidden}, not a list of whole numbers of at least 1")


@dataclass(frozen=True)
class PolicyConfig:
    """A policy's sizes, spaces and constants.

    Attributes:
        task: the name of what the policy was trained for.
        observation, action: the spaces, with bounds, names and units where known.
        trunk: the transformer's shape; None for a network without one.
        mlp: the shape of a behavior cloning network, which has no trunk; None for all others.
        context_length: K, the most timesteps the policy sees; 3 K tokens.
        hop: how far the window's start moves at a time; 1 is the paper's sliding window (`lamo.window`).
        embedding: map from numbers to tokens, "mlp" or "linear"; the action head is of the same kind.
        timestep_order: whether the timestep embedding is added "after_norm" (the paper's D4RL code) or
            "before_norm" (its Atari code) of the embeddings' LayerNorm.
        timestep_table_size: rows of the timestep embedding.
        return_scale: divisor that brings returns near 1.
        target_returns: the raw target returns the policy is meant to be asked for, best first.
        max_timesteps: the longest episode the policy takes; at most `timestep_table_size`.
        environment: the Gymnasium id the policy was trained for, `module:id` where it has to be imported.
        step_seconds: how long one timestep lasts in the world, where known.
        reference_returns: the raw returns that normalized scores 0 and 100 stand for, where known.
        delayed_reward: whether it was trained with all reward on the last step; its return-to-go then stays the
            target return through an episode.
    """

    task: str
    observation: ObservationSpace
    action: ActionSpace
    context_length: int
    return_scale: float
    target_returns: tuple[float, ...]
    timestep_table_size: int
    max_timesteps: int
    trunk: TrunkConfig | None = None
    mlp: MlpConfig | None = None
    hop: int = 1
    embedding: Embedding = "mlp"
    timestep_order: TimestepOrder = "after_norm"
    environment: str | None = None
    step_seconds: float | None = None
    reference_returns: ReferenceReturns | None = None
    delayed_reward: bool = False
    format_version: int = field(default=FORMAT_VERSION)

    def __post_init__(self) -> None:
        _at_least_one(self, "context_length", "timestep_table_size", "max_timesteps")
        self._check_spaces()
        if (self.trunk is None) == (self.mlp is None):
            raise ConfigError(f"trunk is {self.trunk} and mlp is {self.mlp}, exactly one of them must be given")
        if not 1 <= self.hop <= self.context_length:
            raise ConfigError(f"hop {self.hop} is outside 1..{self.context_length}, the context length")
        _at_least_one(self, "hop")
        if self.max_timesteps > self.timestep_table_size:
            raise ConfigError(
                f"max_timesteps {self.max_timesteps} exceeds the timestep table of {self.timestep_table_size}"
            )
        if not (math.isfinite(self.return_scale) and self.return_scale > 0):
            raise ConfigError(f"return_scale {self.return_scale} is not a positive number")
        if not self.target_returns or not all(map(math.isfinite, self.target_returns)):
            raise ConfigError(f"target_returns {self.target_returns} are not one or more finite numbers")
        if not isinstance(self.delayed_reward, bool):
            raise ConfigError(f"delayed_reward is {self.delayed_reward!r}, not true or false")
        for name, kinds in (("embedding", Embedding), ("timestep_order", TimestepOrder)):
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(f"{name} {getattr(self, name)!r} is not one of {', '.join(get_args(kinds))}")

    def _check_spaces(self) -> None:
        if self.observation.dtype != "float32" or len(self.observation.shape) != 1:
            raise ConfigError(
                f"observations of shape {list(self.observation.shape)} and dtype {self.observation.dtype} "
                "cannot be embedded; this version takes float32 vectors"
            )
        if self.action.dtype != "float32" or len(self.action.shape) != 1:
            raise ConfigError(
                f"actions of shape {list(self.action.shape)} and dtype {self.action.dtype} "
                "cannot be proposed; this version proposes float32 vectors"
            )
        for space_name, space in (("observation", self.observation), ("action", self.action)):
            for name in ("low", "high", "names", "units"):
                values = getattr(space, name, None)
                if values is not None and len(values) != space.size:
                    raise ConfigError(
                        f"{space_name}.{name} has {len(values)} entries for shape {list(space.shape)}"
                    )
        for low, high in zip(self.action.low, self.action.high, strict=True):
            if not -math.inf < low < high < math.inf:
                raise ConfigError(f"action bounds {low} and {high} are not two finite numbers, the lower first")

    def to_json(self) -> dict[str, Any]:
        """This config as JSON values; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PolicyConfig:
        """The config a `config.json` describes.

        Raises:
            ConfigError: an unknown format version, an unknown or missing field, or a value out of range.
        """
        version = document.get("format_version")
        if version != FORMAT_VERSION:
            raise ConfigError(f"format_version is {version!r}, this version reads {FORMAT_VERSION}")
        values = dict(document)
        for name, kind in _SECTIONS.items():
            if name in values and not (values[name] is None and name in _OPTIONAL):
                values[name] = _section(name, kind, values[name])
        config: PolicyConfig = build(cls, values, whole="the config")
        return config


_SECTIONS = {
    "observation": ObservationSpace,
    "action": ActionSpace,
    "trunk": TrunkConfig,
    "mlp": MlpConfig,
    "reference_returns": ReferenceReturns,
}
_OPTIONAL = ("trunk", "mlp", "reference_returns")


def _section(name: str, kind: type[Any], value: object) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"field {name} is {value!r}, not an object")
    shape = value.get("shape", [])
    if not isinstance(shape, list | tuple) or any(type(size) is not int or size < 1 for size in shape):
        raise ConfigError(f"field {name}.shape is {shape!r}, not a list of whole numbers of at least 1")
    if math.prod(shape) > MAX_SIZE:
        raise ConfigError(f"field {name}.shape is {shape!r}, at most {MAX_SIZE} numbers are taken")
    return build(kind, value, whole="the config", within=f"{name}.")


def _at_least_one(config: object, *names: str) -> None:
    for name in names:
        value, most = getattr(config, name), MOST.get(name, MAX_SIZE)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} is {value!r}, not a whole number of at least 1")
        if value > most:
            raise ConfigError(f"{name} is {value:.3g}, at most {most} is taken")
