"""Packed: the new tokens of many windows in one row without padding; what the inference network takes.

Token order is that of `lamo.batch`. A **fill** is a whole window up to its last state: the tokens
(R_0, s_0, a_0, ..., R_n, s_n). A **step** is what a window that stands still is longer by, (a_n-1, R_n, s_n);
the keys and values of all tokens before are in a slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamo.batch import Scaling, to_device
from lamo.scripted import Segment
from lamo.window import EpisodeWindow

STEP_TOKENS = 3

RETURN, STATE, ACTION = range(3)


def fill_tokens(timesteps: int) -> int:
    """Tokens of a window of so many timesteps, up to its last state."""
    return 3 * timesteps - 1


@dataclass(frozen=True)
class Rows:
    """Windows with equally many new tokens, as numbers.

    Attributes:
        tokens: new tokens of each row.
        longest: the most tokens that a row has, those in its slot included.
        returns_to_go: [states] float64, raw.
        observations: [states, observation_dim], raw.
        actions: [actions, action_dim].
        state_timesteps, action_timesteps: [states] and [actions] int64.
        kinds, indices: [rows * tokens] int64, each token's kind and its place among the numbers of that kind.
        last: [rows] int64, each row's last real token.
        slots: [rows] int64, where keys and values are kept; None if they are not.
        cached: [rows] int64, tokens whose keys and values are kept already; None for fills.
        real: [rows] int64, tokens of each row that are no padding; None if none are.
    """

    tokens: int
    longest: int
    returns_to_go: NDArray[np.float64]
    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    state_timesteps: NDArray[np.int64]
    action_timesteps: NDArray[np.int64]
    kinds: NDArray[np.int64]
    indices: NDArray[np.int64]
    last: NDArray[np.int64]
    slots: NDArray[np.int64] | None
    cached: NDArray[np.int64] | None
    real: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.last)


def step_rows(
    windows: Sequence[EpisodeWindow],
    slots: NDArray[np.int64],  # [rows]
) -> Rows:
    """The last action, return-to-go and observation of windows whose earlier tokens are in their slots."""
    rows = len(windows)
    kinds, indices = _step_layout(rows)
    steps = np.array([window.step for window in windows], np.int64)
    cached = np.array([fill_tokens(len(window.returns_to_go) - 1) for window in windows], np.int64)
    return Rows(
        tokens=STEP_TOKENS,
        longest=int(cached.max()) + STEP_TOKENS,
        returns_to_go=np.array([window.return_to_go for window in windows], np.float64),
        observations=np.stack([window.observations[-1] for window in windows]),
        actions=np.stack([window.actions[-2] for window in windows]),
        state_timesteps=steps,
        action_timesteps=steps - 1,
        kinds=kinds,
        indices=indices,
        last=STEP_TOKENS * np.arange(1, rows + 1) - 1,
        slots=slots,
        cached=cached,
        real=None,
    )


def fill_rows(
    windows: Sequence[EpisodeWindow],
    slots: NDArray[np.int64] | None,  # [rows]
    timesteps: int | None = None,
) -> Rows:
    """Whole windows, padded at their ends to so many timesteps; unpadded, and then of one length, if None."""
    rows, length = len(windows), len(windows[0].returns_to_go) if timesteps is None else timesteps
    tokens = fill_tokens(length)
    kinds, indices = _fill_layout(rows, length)
    starts = np.array([window.start for window in windows], np.int64)
    within = np.arange(length)
    lengths = np.array([len(window.returns_to_go) for window in windows], np.int64)
    return Rows(
        tokens=tokens,
        longest=tokens,
        returns_to_go=np.concatenate([_padded(window.returns_to_go, length) for window in windows]),
        observations=np.concatenate([_padded(window.observations, length) for window in windows]),
        actions=np.concatenate([_padded(window.actions[:-1], length - 1) for window in windows]),
        state_timesteps=np.where(within < lengths[:, None], starts[:, None] + within, 0).reshape(-1),
        action_timesteps=np.where(within < lengths[:, None], starts[:, None] + within, 0)[:, :-1].reshape(-1),
        kinds=kinds,
        indices=indices,
        last=np.arange(rows) * tokens + 3 * lengths - 2,
        slots=slots,
        cached=None,
        real=None if timesteps is None else 3 * lengths - 1,
    )


def token_order(rows: int, timesteps: int, *, step: bool) -> Tensor:  # [tokens] int64
    """`Packed.order` of rows that are all steps, or all fills of so many timesteps."""
    if step:
        kinds, indices = _step_layout(rows)
        counts = (rows, rows)
    else:
        kinds, indices = _fill_layout(rows, timesteps)
        counts = (rows * timesteps, rows * timesteps)
    return torch.from_numpy(np.array((0, counts[0], sum(counts)))[kinds] + indices)


def _step_layout(rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Rows.kinds` and `Rows.indices` of steps."""
    return np.tile((ACTION, RETURN, STATE), rows), np.repeat(np.arange(rows), STEP_TOKENS)


def _fill_layout(rows: int, timesteps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`Rows.kinds` and `Rows.indices` of fills."""
    tokens = fill_tokens(timesteps)
    kinds = np.tile((RETURN, STATE, ACTION), timesteps)[:tokens]
    widths = np.array([timesteps, timesteps, timesteps - 1])[kinds]
    within = np.repeat(np.arange(timesteps), 3)[:tokens]
    return np.tile(kinds, rows), (np.arange(rows)[:, None] * widths + within).reshape(-1)


@dataclass(frozen=True)
class Packed:
    """The tokens of some rows, segment after segment, as tensors on the device.

    Attributes:
        returns_to_go: [states, 1], divided by the return scale.
        states: [states, observation_dim], normalised.
        actions: [actions, action_dim], raw.
        timesteps: [states + states + actions] int64, of each of the numbers above.
        order: [tokens] int64, where each token lies in (returns-to-go, states, actions).
        read: [rows] int64, the last token of each row, its state.
        segments: in their order.
    """

    returns_to_go: Tensor
    states: Tensor
    actions: Tensor
    timesteps: Tensor
    order: Tensor
    read: Tensor
    segments: list[Segment]


def pack(scaling: Scaling, parts: Sequence[Rows]) -> Packed:
    """The tensors of one or more groups of rows."""
    state_counts = np.array([len(part.returns_to_go) for part in parts])
    action_counts = np.array([len(part.actions) for part in parts])
    token_counts = np.array([len(part.kinds) for part in parts])
    states = int(state_counts.sum())
    order = []
    for state_start, action_start, part in zip(_starts(state_counts), _starts(action_counts), parts, strict=True):
        starts = np.array([state_start, states + state_start, 2 * states + action_start])
        order.append(starts[part.kinds] + part.indices)
    state_timesteps = np.concatenate([part.state_timesteps for part in parts])
    read = [start + part.last for start, part in zip(_starts(token_counts), parts, strict=True)]
    device = scaling.device
    return Packed(
        returns_to_go=scaling.returns(np.concatenate([part.returns_to_go for part in parts])).unsqueeze(-1),
        states=scaling.states(np.concatenate([part.observations for part in parts])),
        actions=scaling.actions(np.concatenate([part.actions for part in parts])),
        timesteps=_moved(
            np.concatenate((state_timesteps, state_timesteps, *[part.action_timesteps for part in parts])), device
        ),
        order=_moved(np.concatenate(order), device),
        read=_moved(np.concatenate(read), device),
        segments=[_segment(part, device) for part in parts],
    )


def _segment(part: Rows, device: torch.device) -> Segment:
    return Segment(
        rows=len(part),
        tokens=part.tokens,
        longest=part.longest,
        slots=_moved(part.slots, device),
        cached=_moved(part.cached, device),
        real=_moved(part.real, device),
    )


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts) - counts


def _padded(values: NDArray[Any], length: int) -> NDArray[Any]:
    missing = length - len(values)
    return np.concatenate((values, np.zeros((missing, *values.shape[1:]), values.dtype))) if missing else values


@overload
def _moved(values: NDArray[np.int64], device: torch.device) -> Tensor: ...
@overload
def _moved(values: None, device: torch.device) -> None: ...
def _moved(values: NDArray[np.int64] | None, device: torch.device) -> Tensor | None:
    return None if values is None else to_device(torch.from_numpy(values), device)
