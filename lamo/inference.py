"""Inference: a merged network laid out for acting, with a memory of keys and values for windows that stand still.

The same function as `lamo.model.LamoModel.last_actions`, with other work: q, k and v in one map, tokens packed
without padding, everything after the last block's keys and values computed for the last token of each row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lamo.config import TrunkConfig
from lamo.linear import Linear
from lamo.model import LamoModel, MlpEmbedding, MlpHead
from lamo.packed import Packed, Segment
from lamo.trunk import Attention, Block, gelu_tanh


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


@dataclass(frozen=True)
class _View:
    """What the tokens of a segment see, and where theirs are kept; the same in every block.

    Attributes:
        mask: [rows, 1, tokens, longest] to be added; None for causal.
        last_mask: [rows, 1, 1, longest], the same for each row's last token; None if it sees everything.
        row, position: [rows, tokens] int64, slot and place in it of each new token.
    """

    segment: Segment
    mask: Tensor | None
    last_mask: Tensor | None
    row: Tensor | None
    position: Tensor | None

    @classmethod
    def of(cls, segment: Segment, dtype: torch.dtype) -> _View:
        if segment.slots is None:
            return cls(segment, None, _seen(segment.real, segment, dtype), None, None)
        new = torch.arange(segment.tokens, device=segment.slots.device)
        row = segment.slots[:, None].expand(-1, segment.tokens)
        if segment.cached is None:
            return cls(segment, None, _seen(segment.real, segment, dtype), row, new.expand_as(row))
        position = segment.cached[:, None] + new
        mask = _seen(position + 1, segment, dtype)
        return cls(segment, mask, None if mask is None else mask[:, :, -1:], row, position)

    def remembered(
        self,
        memory: Tensor,  # [slots, tokens, n_embd]
        new: Tensor,  # [rows, tokens, n_embd]
    ) -> Tensor:  # [rows, longest, n_embd]
        """The keys or values that the segment's tokens may see, after the new ones were put into their slots."""
        segment = self.segment
        if segment.slots is None or self.row is None or self.position is None:
            return new
        memory[self.row, self.position] = new
        return new if segment.cached is None else memory[:, : segment.longest].index_select(0, segment.slots)


def _seen(
    lengths: Tensor | None,  # [rows] or [rows, tokens] int64, how many tokens are seen; None for all
    segment: Segment,
    dtype: torch.dtype,
) -> Tensor | None:  # [rows, 1, 1 or tokens, longest]
    if lengths is None:
        return None
    hidden = torch.arange(segment.longest, device=lengths.device) >= lengths.view(segment.rows, 1, -1, 1)
    return torch.zeros(hidden.shape, device=lengths.device, dtype=dtype).masked_fill_(hidden, float("-inf"))


class _InferenceBlock:
    """One GPT-2 block. In the last one, queries and all that follows are computed for the tokens read alone."""

    def __init__(self, block: Block, layer: int, *, last: bool) -> None:
        attention: Attention = block.attention
        self._layer = layer
        self._last = last
        self._n_head = attention.n_head
        self._scale = attention.scale
        self._ln_1, self._ln_2 = block.ln_1, block.ln_2
        self._queries = _joined(attention.q) if last else None
        self._mapped = _joined(attention.k, attention.v) if last else _joined(attention.q, attention.k, attention.v)
        self._attention_proj = _joined(attention.proj)
        self._fc, self._proj = _joined(block.fc), _joined(block.proj)
        self._activation = _activation(block.activation)

    def __call__(
        self,
        hidden: Tensor,  # [tokens, n_embd]
        packed: Packed,
        views: Sequence[_View],
        memory: Memory | None,
    ) -> Tensor:  # [tokens, n_embd], or [rows, n_embd] of the last block
        normed = self._ln_1(hidden)
        if self._queries is None:
            queries, keys, values = self._mapped(normed).chunk(3, dim=-1)
        else:
            keys, values = self._mapped(normed).chunk(2, dim=-1)
            queries = self._queries(normed.index_select(0, packed.read))
            hidden = hidden.index_select(0, packed.read)
        hidden = hidden + self._attention_proj(self._attend(queries, keys, values, views, memory))
        return hidden + self._proj(self._activation(self._fc(self._ln_2(hidden))))

    def _attend(
        self,
        queries: Tensor,  # [tokens, n_embd], [rows, n_embd] in the last block
        keys: Tensor,  # [tokens, n_embd]
        values: Tensor,  # [tokens, n_embd]
        views: Sequence[_View],
        memory: Memory | None,
    ) -> Tensor:  # [tokens, n_embd], [rows, n_embd] in the last block
        attended, query, token = [], 0, 0
        for view in views:
            segment = view.segment
            asking = 1 if self._last else segment.tokens
            mine = queries[query : query + segment.rows * asking].view(segment.rows, asking, -1)
            key, value = (
                kind[token : token + segment.rows * segment.tokens].view(segment.rows, segment.tokens, -1)
                for kind in (keys, values)
            )
            if memory is not None:
                key = view.remembered(memory.keys[self._layer], key)
                value = view.remembered(memory.values[self._layer], value)
            attended.append(self._attend_rows(mine, key, value, view.last_mask if self._last else view.mask))
            query += segment.rows * asking
            token += segment.rows * segment.tokens
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _attend_rows(
        self,
        queries: Tensor,  # [rows, asking, n_embd]
        keys: Tensor,  # [rows, seen, n_embd]
        values: Tensor,  # [rows, seen, n_embd]
        mask: Tensor | None,  # [rows, 1, asking, seen] to be added; None for causal, all for one asking
    ) -> Tensor:  # [rows * asking, n_embd]
        causal = mask is None and not self._last
        attended = functional.scaled_dot_product_attention(
            self._heads(queries), self._heads(keys), self._heads(values), mask, 0.0, causal, scale=self._scale
        )  # [rows, n_head, asking, head_dim]
        return attended.transpose(1, 2).flatten(2).flatten(0, 1)

    def _heads(
        self,
        mapped: Tensor,  # [rows, tokens, n_embd]
    ) -> Tensor:  # [rows, n_head, tokens, head_dim]
        return mapped.view(*mapped.shape[:2], self._n_head, -1).transpose(1, 2)


class InferenceNetwork:
    """Packed tokens in, one action per row out."""

    def __init__(self, model: LamoModel) -> None:
        blocks = list(model.trunk.blocks)
        self._norm_first = model.norm_first
        self._timesteps = model.embed_timestep.weight
        self._embeddings = tuple(map(_embedding, (model.embed_return, model.embed_state, model.embed_action)))
        self._embed_ln = model.embed_ln
        self._blocks = [
            _InferenceBlock(block, layer, last=layer == len(blocks) - 1)  # type: ignore[arg-type]
            for layer, block in enumerate(blocks)
        ]
        self._ln_f = model.trunk.ln_f
        self._head = _head(model.predict_action)

    def __call__(self, packed: Packed, memory: Memory | None) -> Tensor:  # [rows, action_dim]
        """The action proposed at each row's last state; writes keys and values into the rows' slots."""
        hidden = self._tokens(packed)
        views = [_View.of(segment, hidden.dtype) for segment in packed.segments]
        for block in self._blocks:
            hidden = block(hidden, packed, views, memory)
        actions: Tensor = self._head(self._ln_f(hidden))
        return actions

    def _tokens(self, packed: Packed) -> Tensor:  # [tokens, n_embd]
        numbers = (packed.returns_to_go, packed.states, packed.actions)
        embedded = torch.cat([embed(values) for embed, values in zip(self._embeddings, numbers, strict=True)])
        time = functional.embedding(packed.timesteps, self._timesteps)
        tokens = self._embed_ln(embedded) + time if self._norm_first else self._embed_ln(embedded + time)
        ordered: Tensor = tokens.index_select(0, packed.order)
        return ordered


def _joined(*layers: nn.Linear) -> Linear:
    """Several maps of the same numbers as one."""
    return Linear(
        torch.cat([layer.weight for layer in layers]).contiguous(), torch.cat([layer.bias for layer in layers])
    )


def _activation(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """May write into what it is given."""
    return _gelu_tanh if activation is gelu_tanh else activation


def _gelu_tanh(
    x: Tensor,  # [..., n_inner], written over
) -> Tensor:  # [..., n_inner]
    """`lamo.trunk.gelu_tanh`; on a CPU as x sigmoid(2 z) = x (1 + tanh z) / 2, in half the time of torch's tanh."""
    if x.device.type != "cpu" or x.dtype is torch.bfloat16:  # which would be rounded between the operations
        return gelu_tanh(x)
    twice = 2 * math.sqrt(2 / math.pi)
    doubled = (x * x).mul_(0.044715 * twice).add_(twice).mul_(x)
    return x.mul_(doubled.sigmoid_())


def _embedding(embedding: nn.Module) -> Callable[[Tensor], Tensor]:
    """`embed_*` with its wide maps laid out."""
    if not isinstance(embedding, MlpEmbedding):
        return embedding
    first, second = _joined(embedding.fc1), _joined(embedding.fc2)

    def embedded(numbers: Tensor) -> Tensor:
        hidden = first(numbers)
        return hidden + second(functional.gelu(hidden))

    return embedded


def _head(head: nn.Module) -> Callable[[Tensor], Tensor]:
    if not isinstance(head, MlpHead):
        return head
    first, second = _joined(head.fc1), _joined(head.fc2)
    return lambda hidden: second(functional.gelu(first(hidden)))
