"""Inference: a merged network laid out for acting, with a memory of keys and values for windows that stand still.

The same function as `lamo.model.LamoModel.last_actions`, with other work: q, k and v in one map, tokens packed
without padding, everything after the last block's keys and values computed for the last token of each row alone.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from threading import Lock

import numpy as np
import torch
from torch import Tensor, nn

from lamo import scripted
from lamo.config import TrunkConfig
from lamo.linear import joined
from lamo.model import LamoModel, MlpEmbedding, MlpHead
from lamo.packed import Packed
from lamo.trunk import Block

_compiling = Lock()
"""TorchScript compiles a class that two threads ask for twice, and fails. So do changes of the warnings' filter."""


class Memory:
    """Keys and values of every block, one slot per live window, allocated once.

    Attributes:
        slots: how many windows it has room for; one more slot, with this number, is for what nobody reads again.
        keys, values: [n_layer, slots + 1, tokens, n_embd]; always finite, for a token that is masked still counts.
    """

    def __init__(
        self, config: TrunkConfig, *, tokens: int, limit_bytes: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.slots = limit_bytes // slot_bytes(config, tokens, dtype)
        shape = (config.n_layer, self.slots + 1, tokens, config.n_embd)
        self.keys, self.values = (_zeros(shape, device, dtype) for _ in range(2))

    def clear(self, slot: int) -> None:
        """Forget what a slot holds."""
        self.keys[:, slot] = 0
        self.values[:, slot] = 0


def slot_bytes(config: TrunkConfig, tokens: int, dtype: torch.dtype) -> int:
    """What the keys and values of one window of so many tokens take."""
    return 2 * config.n_layer * tokens * config.n_embd * dtype.itemsize


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """On a CPU as pages that the system gives, zeroed, when they are first written."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros(int(np.prod(shape)) * dtype.itemsize, np.uint8)).view(dtype).view(shape)
    return torch.zeros(shape, device=device, dtype=dtype)


class InferenceNetwork:
    """Packed tokens in, one action per row out."""

    def __init__(self, model: LamoModel) -> None:
        blocks = list(model.trunk.blocks)
        activation = model.trunk.config.activation_function
        last = len(blocks) - 1
        network = scripted.Network(
            model.embed_timestep.weight,
            [
                _block(block, layer, activation, last=layer == last)  # type: ignore[arg-type]
                for layer, block in enumerate(blocks)
            ],
            {
                "embed_return": _embedding(model.embed_return),
                "embed_state": _embedding(model.embed_state),
                "embed_action": _embedding(model.embed_action),
                "embed_ln": model.embed_ln,
                "ln_f": model.trunk.ln_f,
                "head": _head(model.predict_action),
            },
            norm_first=model.norm_first,
        )
        self._network = _compiled(network.eval())

    def __call__(self, packed: Packed, memory: Memory) -> Tensor:  # [rows, action_dim]
        """The action proposed at each row's last state; writes keys and values into the rows' slots."""
        actions: Tensor = self._network(
            packed.returns_to_go,
            packed.states,
            packed.actions,
            packed.timesteps,
            packed.order,
            packed.read,
            packed.segments,
            memory.keys,
            memory.values,
        )
        return actions


def _compiled(network: scripted.Network) -> Callable[..., Tensor]:
    """The network by TorchScript, or as it is from Python 3.14 on, where torch does not support that any more.

    Not on a GPU: captured passes call no Python, and TorchScript would write kernels of its own there, anew for the
    first shapes it sees and with other bits than its first pass. torch calls it deprecated; `torch.compile`, which
    it names instead, takes a minute for every number of rows.
    """
    if sys.version_info >= (3, 14) or not network.timesteps.is_cpu:
        return network
    with _compiling, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled: Callable[..., Tensor] = torch.jit.script(network)
    return compiled


def _block(block: Block, layer: int, activation: str, *, last: bool) -> nn.Module:
    attention = block.attention
    parts = {
        "ln_1": block.ln_1,
        "ln_2": block.ln_2,
        "attention_proj": joined(attention.proj),
        "fc": joined(block.fc),
        "proj": joined(block.proj),
        "activation": scripted.Activation(activation),
    }
    if last:
        parts |= {"queries": joined(attention.q), "mapped": joined(attention.k, attention.v)}
        return scripted.LastBlock(layer, attention.n_head, attention.scale, parts)
    parts["mapped"] = joined(attention.q, attention.k, attention.v)
    return scripted.MiddleBlock(layer, attention.n_head, attention.scale, parts)


def _embedding(embedding: nn.Module) -> nn.Module:
    if not isinstance(embedding, MlpEmbedding):
        return embedding
    return scripted.EmbeddingByMlp(joined(embedding.fc1), joined(embedding.fc2))


def _head(head: nn.Module) -> nn.Module:
    if not isinstance(head, MlpHead):
        return head
    return scripted.HeadByMlp(joined(head.fc1), joined(head.fc2))
