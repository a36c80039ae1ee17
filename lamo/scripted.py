"""Scripted: the inference network in the part of Python that TorchScript compiles, a tenth of a second per policy.

A pass is some hundred small operations. Called from Python, each of them gives Python's lock back and waits for it
again, which beside a busy event loop takes milliseconds each time; compiled, the whole pass takes it once.
`lamo.inference` builds these modules from a trained network.
"""

# TorchScript reads annotations as they stand, so they are not postponed here, and say Optional and List; what it
# compiles has no keyword-only arguments and no conditional expressions over modules.

import math
from typing import Final, List, NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional


class Segment(NamedTuple):
    """Rows of equally many tokens, side by side in a packed row.

    Attributes:
        rows: how many.
        tokens: new tokens of each row.
        longest: the most tokens that a row has, those in its slot included.
        slots: [rows] int64, where keys and values are kept; None if they are not.
        cached: [rows] int64, tokens whose keys and values are kept already; None if none are.
        real: [rows] int64, tokens of each row that are no padding; None if all are real.
    """

    rows: int
    tokens: int
    longest: int
    slots: Optional[Tensor]
    cached: Optional[Tensor]
    real: Optional[Tensor]


class View(NamedTuple):
    """What the tokens of a segment see, and where theirs are kept; the same in every block.

    Attributes:
        mask: [rows, 1, tokens, longest] to be added; None for causal.
        last_mask: [rows, 1, 1, longest], the same for each row's last token; None if it sees everything.
        row, position: [rows, tokens] int64, slot and place in it of each new token.
    """

    segment: Segment
    mask: Optional[Tensor]
    last_mask: Optional[Tensor]
    row: Optional[Tensor]
    position: Optional[Tensor]


def view_of(segment: Segment, like: Tensor) -> View:
    """The view of a segment, with masks in the dtype of `like`."""
    slots, cached, real = segment.slots, segment.cached, segment.real
    last_mask = torch.jit.annotate(Optional[Tensor], None)
    if real is not None:
        last_mask = seen(real, segment, like)
    if slots is None:
        return View(segment, None, last_mask, None, None)
    new = torch.arange(segment.tokens, device=slots.device)
    row = slots.unsqueeze(1).expand(-1, segment.tokens)
    if cached is None:
        return View(segment, None, last_mask, row, new.unsqueeze(0).expand(segment.rows, -1))
    position = cached.unsqueeze(1) + new
    mask = seen(position + 1, segment, like)
    return View(segment, mask, mask[:, :, -1:], row, position)


def seen(
    lengths: Tensor,  # [rows] or [rows, tokens] int64, how many tokens are seen
    segment: Segment,
    like: Tensor,
) -> Tensor:  # [rows, 1, 1 or tokens, longest]
    """The mask to be added, in the dtype of `like`."""
    hidden = torch.arange(segment.longest, device=lengths.device) >= lengths.view(segment.rows, 1, -1, 1)
    return torch.zeros(hidden.shape, device=like.device, dtype=like.dtype).masked_fill_(hidden, -math.inf)


def remembered(
    view: View,
    memory: Tensor,  # [slots, tokens, n_embd]
    new: Tensor,  # [rows, tokens, n_embd]
) -> Tensor:  # [rows, longest, n_embd]
    """The keys or values that a segment's tokens may see, after the new ones were put into their slots."""
    row, position, slots = view.row, view.position, view.segment.slots
    if row is None or position is None or slots is None:
        return new
    memory.index_put_((row, position), new)
    if view.segment.cached is None:
        return new
    return memory[:, : view.segment.longest].index_select(0, slots)


def attend(
    queries: Tensor,  # [tokens, n_embd], [rows, n_embd] if only the last are asked for
    keys: Tensor,  # [tokens, n_embd]
    values: Tensor,  # [tokens, n_embd]
    views: List[View],
    kept_keys: Tensor,  # [slots, tokens, n_embd]
    kept_values: Tensor,  # [slots, tokens, n_embd]
    n_head: int,
    scale: float,
    last: bool,
) -> Tensor:  # [tokens, n_embd], [rows, n_embd] if only the last are asked for
    """What each token, or each row's last, attends to."""
    attended = torch.jit.annotate(List[Tensor], [])
    query, token = 0, 0
    for view in views:
        rows, tokens = view.segment.rows, view.segment.tokens
        asking = 1 if last else tokens
        mine = queries[query : query + rows * asking].view(rows, asking, n_head, -1)
        key = remembered(view, kept_keys, keys[token : token + rows * tokens].view(rows, tokens, -1))
        value = remembered(view, kept_values, values[token : token + rows * tokens].view(rows, tokens, -1))
        mask = view.last_mask if last else view.mask
        heads = functional.scaled_dot_product_attention(
            mine.transpose(1, 2),
            key.view(rows, key.size(1), n_head, -1).transpose(1, 2),
            value.view(rows, value.size(1), n_head, -1).transpose(1, 2),
            mask,
            0.0,
            mask is None and not last,
            scale=scale,
        )  # [rows, n_head, asking, head_dim]
        attended.append(heads.transpose(1, 2).flatten(2).flatten(0, 1))
        query += rows * asking
        token += rows * tokens
    return attended[0] if len(attended) == 1 else torch.cat(attended)


class LinearMap(nn.Module):
    """y = x W^T + b, with weights as `lamo.linear` laid them out."""

    packed: Final[bool]

    def __init__(self, weight: Tensor, bias: Tensor, *, packed: bool) -> None:
        super().__init__()
        self.packed = packed
        self.weight = weight
        self.bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """The mapped numbers: [..., n_in] to [..., n_out]."""
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return functional.linear(x, self.weight, self.bias)


class Activation(nn.Module):
    """A block's activation; it may write into what it is given."""

    kind: Final[str]

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """As `lamo.trunk.ACTIVATIONS`.

        GELU by tanh is x sigmoid(2 z) = x (1 + tanh z) / 2 on a CPU, in half the time of torch's tanh; in bfloat16
        it would be rounded between the operations.
        """
        if self.kind == "relu":
            return x.relu_()
        if self.kind == "silu":
            return functional.silu(x)
        if self.kind == "tanh":
            return x.tanh_()
        if self.kind == "gelu":
            return functional.gelu(x)
        if not x.is_cpu or x.dtype == torch.bfloat16:
            return functional.gelu(x, approximate="tanh")
        twice = 2 * math.sqrt(2 / math.pi)
        doubled = (x * x).mul_(0.044715 * twice).add_(twice).mul_(x)
        return x.mul_(doubled.sigmoid_())


class MiddleBlock(nn.Module):
    """One GPT-2 block for all tokens."""

    n_head: Final[int]
    scale: Final[float]
    layer: Final[int]

    def __init__(self, layer: int, n_head: int, scale: float, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layer, self.n_head, self.scale = layer, n_head, scale
        self.ln_1, self.ln_2 = parts["ln_1"], parts["ln_2"]
        self.mapped, self.attention_proj = parts["mapped"], parts["attention_proj"]
        self.fc, self.proj, self.activation = parts["fc"], parts["proj"], parts["activation"]

    def forward(self, hidden: Tensor, views: List[View], keys: Tensor, values: Tensor) -> Tensor:
        """[tokens, n_embd] to the same; keys and values are [n_layer, slots, tokens, n_embd]."""
        query, key, value = self.mapped(self.ln_1(hidden)).chunk(3, dim=-1)
        attended = attend(
            query, key, value, views, keys[self.layer], values[self.layer], self.n_head, self.scale, False
        )
        hidden = hidden + self.attention_proj(attended)
        return hidden + self.proj(self.activation(self.fc(self.ln_2(hidden))))


class LastBlock(nn.Module):
    """The last GPT-2 block: queries and all that follows for each row's last token alone."""

    n_head: Final[int]
    scale: Final[float]
    layer: Final[int]

    def __init__(self, layer: int, n_head: int, scale: float, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.layer, self.n_head, self.scale = layer, n_head, scale
        self.ln_1, self.ln_2 = parts["ln_1"], parts["ln_2"]
        self.queries, self.mapped, self.attention_proj = parts["queries"], parts["mapped"], parts["attention_proj"]
        self.fc, self.proj, self.activation = parts["fc"], parts["proj"], parts["activation"]

    def forward(self, hidden: Tensor, read: Tensor, views: List[View], keys: Tensor, values: Tensor) -> Tensor:
        """[tokens, n_embd] to [rows, n_embd]; `read` is [rows], the rest as in MiddleBlock."""
        normed = self.ln_1(hidden)
        key, value = self.mapped(normed).chunk(2, dim=-1)
        query = self.queries(normed.index_select(0, read))
        attended = attend(
            query, key, value, views, keys[self.layer], values[self.layer], self.n_head, self.scale, True
        )
        hidden = hidden.index_select(0, read) + self.attention_proj(attended)
        return hidden + self.proj(self.activation(self.fc(self.ln_2(hidden))))


class EmbeddingByMlp(nn.Module):
    """`lamo.model.MlpEmbedding`: h = first(x); h + second(GELU(h))."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, numbers: Tensor) -> Tensor:
        """[n, n_in] to [n, n_embd]."""
        hidden = self.first(numbers)
        return hidden + self.second(functional.gelu(hidden))


class HeadByMlp(nn.Module):
    """`lamo.model.MlpHead`: second(GELU(first(x)))."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, hidden: Tensor) -> Tensor:
        """[rows, n_embd] to [rows, action_dim]."""
        return self.second(functional.gelu(self.first(hidden)))


class Network(nn.Module):
    """Packed tokens in, one action per row out; the fields are those of `lamo.packed.Packed` and of a memory."""

    norm_first: Final[bool]

    def __init__(
        self, timesteps: Tensor, blocks: list[nn.Module], parts: dict[str, nn.Module], *, norm_first: bool
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.timesteps = timesteps
        self.embed_return, self.embed_state = parts["embed_return"], parts["embed_state"]
        self.embed_action, self.embed_ln = parts["embed_action"], parts["embed_ln"]
        self.blocks = nn.ModuleList(blocks[:-1])
        self.last = blocks[-1]
        self.ln_f, self.head = parts["ln_f"], parts["head"]

    def forward(
        self,
        returns_to_go: Tensor,
        states: Tensor,
        actions: Tensor,
        timesteps: Tensor,
        order: Tensor,
        read: Tensor,
        segments: List[Segment],
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        """The action at each row's last state, [rows, action_dim]; keys and values go into the rows' slots."""
        embedded = torch.cat(
            [self.embed_return(returns_to_go), self.embed_state(states), self.embed_action(actions)]
        )
        time = functional.embedding(timesteps, self.timesteps)
        if self.norm_first:
            tokens = self.embed_ln(embedded) + time
        else:
            tokens = self.embed_ln(embedded + time)
        hidden = tokens.index_select(0, order)
        views = [view_of(segment, hidden) for segment in segments]
        for block in self.blocks:
            hidden = block(hidden, views, keys, values)
        return self.head(self.ln_f(self.last(hidden, read, views, keys, values)))
