"""Trunk: GPT-2's transformer blocks, with q, k and v as maps of their own so that LoRA adapts each separately.

It holds what trajectory tokens pass through: the blocks and the last LayerNorm. The word and position
embeddings of the language model it came from stay outside (`PretrainedTrunk`): trajectory tokens get no position
embedding, as in the reference, and a served policy needs neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast, get_args

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lamo.config import Activation, TrunkConfig
from lamo.dropout import Dropout, drop
from lamo.errors import ConfigError, LanguageModelError

if TYPE_CHECKING:
    from transformers import GPT2Config


def gelu_tanh(
    x: Tensor,  # [...]
) -> Tensor:  # [...]
    """GELU by its tanh approximation (Hendrycks and Gimpel, 2016), GPT-2's activation."""
    return functional.gelu(x, approximate="tanh")


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu_new": gelu_tanh,
    "gelu": functional.gelu,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": functional.relu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Attention(nn.Module):
    """Causal self-attention of one block."""

    def __init__(self, config: TrunkConfig, layer: int, dropout: float) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = dropout
        self.scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        if config.scale_attn_by_inverse_layer_idx:
            self.scale /= layer + 1
        self.q = nn.Linear(config.n_embd, config.n_embd)
        self.k = nn.Linear(config.n_embd, config.n_embd)
        self.v = nn.Linear(config.n_embd, config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(
        self,
        hidden: Tensor,  # [batch, tokens, n_embd]
        read: Tensor | None = None,  # [batch or 1, reads] int64
    ) -> Tensor:  # [batch, reads or tokens, n_embd]
        """Each token attends to itself and those before it; `read` as in `Trunk.forward`."""
        query = self._heads(self.q(hidden if read is None else gather_tokens(hidden, read)))
        visible = None if read is None else _visible(read, hidden.shape[1])
        attended = self._attend(query, self._heads(self.k(hidden)), self._heads(self.v(hidden)), visible)
        merged: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return merged

    def _attend(
        self,
        query: Tensor,  # [batch, n_head, reads or tokens, head_dim]
        key: Tensor,  # [batch, n_head, tokens, head_dim]
        value: Tensor,  # [batch, n_head, tokens, head_dim]
        visible: Tensor | None,  # [batch or 1, 1, reads, tokens] bool; None for causal
    ) -> Tensor:  # [batch, n_head, reads or tokens, head_dim]
        chance = self.dropout if self.training else 0.0
        if chance == 0.0 or query.device.type != "cpu":
            return functional.scaled_dot_product_attention(
                query, key, value, visible, chance, is_causal=visible is None, scale=self.scale
            )
        # With dropout on a CPU torch has no fused kernel: it does this, and spends most of the time on dropout.
        if visible is None:
            visible = _visible(torch.arange(key.shape[2])[None], key.shape[2])
        scores = (self.scale * query) @ key.transpose(2, 3)  # [batch, n_head, reads or tokens, tokens]
        weights = scores.masked_fill_(~visible, float("-inf")).softmax(dim=-1)
        return drop(weights, chance) @ value

    def _heads(
        self,
        mapped: Tensor,  # [batch, tokens, n_embd]
    ) -> Tensor:  # [batch, n_head, tokens, head_dim]
        return mapped.view(*mapped.shape[:2], self.n_head, -1).transpose(1, 2)


class Block(nn.Module):
    """One pre-LayerNorm GPT-2 block."""

    def __init__(self, config: TrunkConfig, layer: int, dropout: float) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attention = Attention(config, layer, dropout)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.fc = nn.Linear(config.n_embd, config.n_inner)
        self.proj = nn.Linear(config.n_inner, config.n_embd)
        self.activation = ACTIVATIONS[config.activation_function]
        self.dropout = Dropout(dropout)

    def forward(
        self,
        hidden: Tensor,  # [batch, tokens, n_embd]
        read: Tensor | None = None,  # [batch or 1, reads] int64
    ) -> Tensor:  # [batch, reads or tokens, n_embd]
        """Attention, then the two-layer map, each added to what came in; `read` as in `Trunk.forward`."""
        attended = self.dropout(self.attention(self.ln_1(hidden), read))
        hidden = attended + (hidden if read is None else gather_tokens(hidden, read))
        mapped: Tensor = self.dropout(self.proj(self.activation(self.fc(self.ln_2(hidden)))))
        return hidden + mapped


class Trunk(nn.Module):
    """GPT-2's blocks and last LayerNorm.

    `dropout` is GPT-2's (after the embeddings, on attention weights and on both residual branches); it acts in
    training mode only and is no part of a served policy.

    Attributes:
        checkpointing: in training, keep each block's input alone and compute the block again on the way back: the
            same gradients with a fraction of the memory, for a third more arithmetic.
    """

    def __init__(self, config: TrunkConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(Block(config, layer, dropout) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(
        self,
        tokens: Tensor,  # [batch, tokens, n_embd]
        read: Tensor | None = None,  # [batch or 1, reads] int64
    ) -> Tensor:  # [batch, reads or tokens, n_embd]
        """Every token sees itself and those before it. Padding belongs at the end, where nothing sees it.

        Args:
            read: positions of the tokens whose output is wanted, None for all. The last block computes its queries
                and all that follows them for these alone: nothing reads the rest.
        """
        hidden = self.dropout(tokens)
        for block in self.blocks[:-1]:
            hidden = self._through(block, hidden)
        last: Tensor = self.ln_f(self._through(self.blocks[-1], hidden, read))
        return last

    def _through(self, block: nn.Module, hidden: Tensor, read: Tensor | None = None) -> Tensor:
        if self.checkpointing and self.training:
            recomputed: Tensor = checkpoint(block, hidden, read, use_reentrant=False)
            return recomputed
        computed: Tensor = block(hidden, read)
        return computed


def gather_tokens(
    hidden: Tensor,  # [batch, tokens, n_embd]
    read: Tensor,  # [batch or 1, reads] int64
) -> Tensor:  # [batch, reads, n_embd]
    """The tokens at these positions of each row."""
    return hidden.gather(1, read[:, :, None].expand(len(hidden), -1, hidden.shape[-1]))


def _visible(
    read: Tensor,  # [batch or 1, reads] int64
    tokens: int,
) -> Tensor:  # [batch or 1, 1, reads, tokens] bool
    """What the tokens at these positions may attend to: themselves and those before."""
    return (torch.arange(tokens, device=read.device) <= read[:, :, None]).unsqueeze(1)


@dataclass(frozen=True)
class PretrainedTrunk:
    """A trunk and the embeddings of the language model it came from.

    Attributes:
        trunk: the blocks.
        wte: word embedding, [vocab_size, n_embd]; tied to the language head.
        wpe: position embedding, [n_positions, n_embd].
    """

    trunk: Trunk
    wte: Tensor
    wpe: Tensor

    @classmethod
    def load(cls, name: str, *, dropout: float = 0.0) -> PretrainedTrunk:
        """The trunk of any GPT-2 checkpoint `transformers` loads.

        Args:
            name: a model on the hub ("gpt2") or a local folder.
            dropout: as in `Trunk`.

        Raises:
            LanguageModelError: there is no such model, it is no GPT-2, or it uses what this trunk does not honour.
        """
        from transformers import AutoConfig, GPT2Model  # noqa: PLC0415 - a served policy never loads it

        if name.startswith((".", "/")) and not Path(name).is_dir():
            raise LanguageModelError(f"language model folder {name!r} does not exist")
        try:
            config = AutoConfig.from_pretrained(name)
        except Exception as error:  # a config that is checked raises neither OSError nor ValueError
            raise LanguageModelError(f"language model {name!r} cannot be read: {_first_line(error)}") from error
        trunk_config = trunk_config_of(config, name)
        try:
            loaded: Any = GPT2Model.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
            )
        except (OSError, ValueError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
            raise LanguageModelError(f"weights of {name!r} cannot be read: {_first_line(error)}") from error
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise LanguageModelError(f"weights of {name!r} lack {len(missing)} tensors, the first is {missing[0]}")
        if mismatched := sorted(report["mismatched_keys"]):
            tensor, held, expected = mismatched[0][0], *map(list, mismatched[0][1:])
            raise LanguageModelError(f"weights of {name!r}: {tensor} has shape {held}, its config says {expected}")
        return cls._of(model.state_dict(), trunk_config, dropout)

    @classmethod
    def random(
        cls, config: TrunkConfig, *, vocab_size: int, n_positions: int, dropout: float = 0.0
    ) -> PretrainedTrunk:
        """A trunk with GPT-2's random initialisation, the control for "does pretraining help".

        Draws from torch's global generator, as every module's initialisation does.
        """
        from transformers import GPT2Config, GPT2Model  # noqa: PLC0415

        layout = GPT2Config(
            vocab_size=vocab_size,
            n_positions=n_positions,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_embd=config.n_embd,
            n_inner=config.n_inner,
            bos_token_id=None,  # GPT-2's own lie outside a smaller vocabulary
            eos_token_id=None,
        )
        return cls._of(GPT2Model(layout).state_dict(), config, dropout)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], config: TrunkConfig, dropout: float) -> PretrainedTrunk:
        trunk = Trunk(config, dropout)
        trunk.load_state_dict(from_gpt2(tensors, config))
        return cls(trunk, tensors["wte.weight"].clone(), tensors["wpe.weight"].clone())


def trunk_config_of(config: GPT2Config, name: str) -> TrunkConfig:
    """The trunk's shape for a `transformers` config; what the trunk does not honour is refused by name."""
    model_type = getattr(config, "model_type", None)
    if model_type != "gpt2":
        raise LanguageModelError(f"language model {name!r} is a {model_type!r}, not a 'gpt2'")
    for option in ("add_cross_attention", "reorder_and_upcast_attn"):
        if getattr(config, option, False):
            raise LanguageModelError(f"language model {name!r} sets {option}, which this trunk does not honour")
    if config.activation_function not in get_args(Activation):
        known = ", ".join(get_args(Activation))
        raise LanguageModelError(
            f"language model {name!r} uses activation {config.activation_function!r}; this trunk knows {known}"
        )
    try:
        return TrunkConfig(
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_embd=config.n_embd,
            n_inner=config.n_inner or 4 * config.n_embd,
            activation_function=cast(Activation, config.activation_function),
            layer_norm_epsilon=config.layer_norm_epsilon,
            scale_attn_weights=config.scale_attn_weights,
            scale_attn_by_inverse_layer_idx=config.scale_attn_by_inverse_layer_idx,
        )
    except ConfigError as error:
        raise LanguageModelError(f"language model {name!r}: {error}") from error


def from_gpt2(tensors: dict[str, Tensor], config: TrunkConfig) -> dict[str, Tensor]:
    """The trunk's state dict from a `GPT2Model`'s, whose Conv1D weights are [in, out] and whose q, k, v are one."""
    state = {f"ln_f.{kind}": tensors[f"ln_f.{kind}"] for kind in ("weight", "bias")}
    for layer in range(config.n_layer):
        theirs, ours = f"h.{layer}", f"blocks.{layer}"
        weights = tensors[f"{theirs}.attn.c_attn.weight"].T.chunk(3)
        biases = tensors[f"{theirs}.attn.c_attn.bias"].chunk(3)
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"{ours}.attention.{part}.weight"] = weight
            state[f"{ours}.attention.{part}.bias"] = bias
        for their_map, our_map in (
            ("attn.c_proj", "attention.proj"),
            ("mlp.c_fc", "fc"),
            ("mlp.c_proj", "proj"),
        ):
            state[f"{ours}.{our_map}.weight"] = tensors[f"{theirs}.{their_map}.weight"].T
            state[f"{ours}.{our_map}.bias"] = tensors[f"{theirs}.{their_map}.bias"]
        for norm in ("ln_1", "ln_2"):
            for kind in ("weight", "bias"):
                state[f"{ours}.{norm}.{kind}"] = tensors[f"{theirs}.{norm}.{kind}"]
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _first_line(error: BaseException) -> Any:
    first, _, rest = str(error).strip().partition("\n")
    return f"{first} {_first_line(Exception(rest))}" if first.endswith(":") and rest else first
