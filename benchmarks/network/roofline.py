"""Roofline: the arithmetic and the memory traffic of forward passes, and what this machine does of each at most.

The model of Williams, Waterman and Patterson (2009): a pass takes at least the longer of its arithmetic at the
machine's peak and its memory traffic at the machine's bandwidth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from network.turns import fastest

from lamo.config import TrunkConfig
from lamo.packed import STEP_TOKENS, fill_tokens

PEAK_SIZE = 1536
"""Of the square float32 matrices whose product is the machine's best."""


@dataclass(frozen=True)
class Row:
    """One row of a pass: so many new tokens, the last of them seeing so many, itself included."""

    new: int
    seen: int

    @classmethod
    def fill(cls, timesteps: int) -> Row:
        """A window of so many timesteps computed whole."""
        return cls(fill_tokens(timesteps), fill_tokens(timesteps))

    @classmethod
    def step(cls, timesteps: int) -> Row:
        """The newest of so many timesteps, the others in a slot."""
        return cls(STEP_TOKENS, fill_tokens(timesteps))


@dataclass(frozen=True)
class Work:
    """What a pass cannot do without.

    Attributes:
        operations: multiplications and additions, two for each weight and token.
        traffic: bytes read: weights once, keys and values of the slots once per row.
    """

    operations: float
    traffic: float

    def __add__(self, other: Work) -> Work:
        return Work(self.operations + other.operations, self.traffic + other.traffic)

    @classmethod
    def of(cls, trunk: TrunkConfig, rows: Sequence[Row], itemsize: int) -> Work:
        """Of the blocks of a trunk; embeddings and the head, a few percent of it at most, are left out."""
        blocks, width = trunk.n_layer - 1, trunk.n_embd
        square, mlp = width**2, 2 * width * trunk.n_inner
        new = sum(row.new for row in rows)
        seen = sum(row.seen for row in rows)
        pairs = sum(row.new * (2 * row.seen - row.new + 1) // 2 for row in rows)  # causal
        maps = blocks * new * (4 * square + mlp) + 2 * new * square + len(rows) * (2 * square + mlp)
        attention = 2 * width * (blocks * pairs + seen)
        slots = 2 * trunk.n_layer * width * sum(row.seen - row.new for row in rows)
        return cls(2.0 * (maps + attention), float(itemsize * (trunk.n_layer * (4 * square + mlp) + slots)))


@dataclass(frozen=True)
class Peak:
    """What a machine does at most.

    Attributes:
        operations: float32 per second, in the product of two large matrices.
        bandwidth: bytes per second read by the product of a vector and a matrix as large as the weights; from a
            cache where those fit in one.
    """

    operations: float
    bandwidth: float

    @classmethod
    def measure(cls, weight_bytes: int, seconds: float) -> Peak:
        """Of this machine with as many threads as torch uses."""
        left, right, out = (torch.randn(PEAK_SIZE, PEAK_SIZE) for _ in range(3))
        weights = torch.randn(weight_bytes // 4096, 1024)
        vector, product = torch.randn(1024), torch.empty(len(weights))
        took = fastest(
            {
                "multiply": lambda: torch.mm(left, right, out=out),
                "read": lambda: torch.mv(weights, vector, out=product),
            },
            seconds,
        )
        return cls(2 * PEAK_SIZE**3 / took["multiply"], weights.nbytes / took["read"])

    def seconds(self, work: Work) -> float:
        """What the work takes at least."""
        return max(work.operations / self.operations, work.traffic / self.bandwidth)

    def bound(self, work: Work) -> str:
        """Which of the two limits it."""
        arithmetic = work.operations / self.operations >= work.traffic / self.bandwidth
        return "arithmetic" if arithmetic else "memory"
