"""Captured: the inference network with fixed shapes and fixed places in memory, as CUDA graphs that are replayed.

A launch of one kernel costs the processor more than a small network's kernel takes on a GPU. So the whole pass is
captured once per number of rows (1, 2, 4, ... the largest batch) and kind of row, step or fill, before the first
request; a batch is padded to the next number by repeating its last row, a fill to a full window.
Where there is no CUDA the same pass runs without a graph, for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamo.batch import Scaling
from lamo.config import PolicyConfig
from lamo.inference import InferenceNetwork, Memory
from lamo.packed import STEP_TOKENS, Packed, Rows, fill_rows, fill_tokens, step_rows, token_order
from lamo.scripted import Segment
from lamo.slots import Place
from lamo.window import EpisodeWindow

WARM_UPS = 3
"""Passes before a capture, so that cuBLAS and the allocator have what they take on first use."""


def buckets(largest: int) -> list[int]:
    """The numbers of rows that are captured: powers of two below the largest batch, and that."""
    return [2**power for power in range(largest.bit_length()) if 2**power < largest] + [largest]


class CapturedPasses:
    """Steps and fills of up to `largest` rows each, once `capture` is through."""

    def __init__(
        self, network: InferenceNetwork, memory: Memory, scaling: Scaling, config: PolicyConfig, largest: int
    ) -> None:
        self._network = network
        self._memory = memory
        self._scaling = scaling
        self._config = config
        self._timesteps = config.context_length
        self._largest = largest
        self._buckets = buckets(largest)
        self._passes: dict[tuple[int, bool], _Pass] = {}

    def capture(self) -> Iterator[None]:
        """Capture pass by pass; in between the device is free for others."""
        network, memory, scaling, config = self._network, self._memory, self._scaling, self._config
        capturing = _Capturing(scaling.device) if scaling.device.type == "cuda" else None
        # A window of one timestep never stands still: there are no steps, and no room for one's three tokens.
        kinds = (True, False) if config.context_length > 1 else (False,)
        # The largest first: what it takes from the graphs' one pool of memory serves all others.
        for rows, step in product(reversed(self._buckets), kinds):
            self._passes[rows, step] = _Pass(
                network, memory, scaling, config, rows=rows, step=step, capturing=capturing
            )
            yield

    def __call__(
        self, windows: Sequence[EpisodeWindow], places: Sequence[Place | None]
    ) -> NDArray[np.float32]:  # [len(windows), action_dim]
        """The action proposed for each window."""
        actions: dict[int, NDArray[np.float32]] = {}
        held = [place is not None and place.held for place in places]
        for step in (True, False):
            members = [index for index in range(len(windows)) if held[index] is step]
            for first in range(0, len(members), self._largest):
                chosen = members[first : first + self._largest]
                found = self._run(step, [windows[index] for index in chosen], [places[index] for index in chosen])
                actions.update(zip(chosen, found, strict=True))
        return np.stack([actions[index] for index in range(len(windows))])

    def _run(
        self,
        step: bool,
        windows: Sequence[EpisodeWindow],
        places: Sequence[Place | None],
    ) -> NDArray[np.float32]:
        bucket = next(rows for rows in self._buckets if rows >= len(windows))
        missing = bucket - len(windows)
        padded = [*windows, *[windows[-1]] * missing]
        slots = np.array([self._memory.slots if place is None else place.slot for place in places], np.int64)
        slots = np.concatenate((slots, np.repeat(slots[-1:], missing)))
        rows = step_rows(padded, slots) if step else fill_rows(padded, slots, timesteps=self._timesteps)
        return self._passes[bucket, step](rows)[: len(windows)]


class _Pass:
    """One shape: numbers go into fixed places, the graph is replayed, actions come out of a fixed place."""

    def __init__(
        self,
        network: InferenceNetwork,
        memory: Memory,
        scaling: Scaling,
        config: PolicyConfig,
        *,
        rows: int,
        step: bool,
        capturing: _Capturing | None,  # None without CUDA
    ) -> None:
        length = 1 if step else config.context_length
        tokens = STEP_TOKENS if step else fill_tokens(length)
        states, actions = rows * length, rows * (1 if step else length - 1)
        self._network, self._memory, self._scaling = network, memory, scaling
        self._rows, self._tokens, self._step = rows, tokens, step
        self._longest = fill_tokens(config.context_length)
        self._order = token_order(rows, length, step=step).to(scaling.device)
        self._floats = _Staging(
            [(states, 1), (states, config.observation.size), (actions, config.action.size)],
            torch.float32,
            scaling.device,
        )
        self._ints = _Staging([(2 * states + actions,), (rows,), (rows,), (rows,)], torch.int64, scaling.device)
        self._actions = torch.zeros((rows, config.action.size), device=scaling.device)
        self._graph = None if capturing is None else capturing.graph(self._forward)

    def __call__(self, rows: Rows) -> NDArray[np.float32]:  # [rows, action_dim]
        returns = self._scaling.scaled(rows.returns_to_go)
        self._floats.send([returns, rows.observations, rows.actions])
        timesteps = np.concatenate((rows.state_timesteps, rows.state_timesteps, rows.action_timesteps))
        tokens = rows.cached if rows.cached is not None else rows.real
        self._ints.send([timesteps, rows.last, rows.slots, tokens])
        if self._graph is None:
            self._forward()
        else:
            self._graph.replay()
        actions: NDArray[np.float32] = self._actions.cpu().numpy().copy()
        return actions

    def _forward(self) -> None:
        returns, observations, actions = self._floats.device
        timesteps, read, slots, tokens = self._ints.device
        dtype = self._scaling.dtype
        segment = Segment(
            rows=self._rows,
            tokens=self._tokens,
            longest=self._longest,
            slots=slots,
            cached=tokens if self._step else None,
            real=None if self._step else tokens,
        )
        packed = Packed(
            returns_to_go=returns.to(dtype),
            states=self._scaling.normalized(observations),
            actions=actions.to(dtype),
            timesteps=timesteps,
            order=self._order,
            read=read,
            segments=[segment],
        )
        self._actions.copy_(self._network(packed, self._memory))


class _Capturing:
    """How graphs are captured: on one stream of the policy's device, which need not be the current one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def graph(self, forward: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """The graph of a pass, after passes that warm it up."""
        with torch.cuda.device(self._device):  # else torch captures a stream of device 0, on which nothing happens
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    forward()
            current.wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                forward()
        return graph


class _Staging:
    """Arrays side by side in one fixed place on the device, sent there in one copy."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, device: torch.device) -> None:
        sizes = [int(np.prod(shape)) for shape in shapes]
        self._host = torch.zeros(sum(sizes), dtype=dtype, pin_memory=device.type == "cuda")
        self._there = torch.zeros(sum(sizes), dtype=dtype, device=device)
        self._parts = [part.numpy() for part in torch.split(self._host, sizes)]
        self.device: list[Tensor] = [
            part.view(shape) for part, shape in zip(torch.split(self._there, sizes), shapes, strict=True)
        ]

    def send(self, arrays: Sequence[NDArray[np.generic] | None]) -> None:
        """Copy the arrays over. The pass before is over by now: its actions have been read."""
        for part, array in zip(self._parts, arrays, strict=True):
            if array is not None:
                part[...] = array.reshape(-1)
        self._there.copy_(self._host, non_blocking=True)
