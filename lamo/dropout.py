"""Dropout: torch's on a GPU; on a CPU the same chance from 16 random bits per number, in a third of the time.

Training on a CPU would otherwise spend a quarter of its time drawing 64 bits for every number that may be dropped.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 1 << 16
"""The chance is rounded to one in so many: 0.1 becomes 0.100006, and what is kept is scaled by just that."""


class Dropout(nn.Module):
    """Zeroes each number with a chance in training mode, and scales the others so that the mean stays."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(
        self,
        x: Tensor,  # [...]
    ) -> Tensor:  # [...]
        """The numbers that are kept, scaled; all of them, as they are, outside of training."""
        return drop(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """For `repr`."""
        return f"p={self.p}"


def drop(
    x: Tensor,  # [...]
    p: float,
) -> Tensor:  # [...]
    """Zero each number with chance p. Depends on torch's generator alone, which seeds what draws the bits."""
    if p == 0.0 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return functional.dropout(x, p)
    dropped = round(p * LEVELS)
    kept = _random_levels(x.numel()).view(x.shape) >= dropped - LEVELS // 2
    return torch.where(kept, x, 0.0).mul_(LEVELS / (LEVELS - dropped))


def _random_levels(count: int) -> Tensor:  # [count] int16
    """Uniform over all of int16."""
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.Generator(np.random.SFC64(seed)).integers(0, 2**64, size=-(-count // 4), dtype=np.uint64)
    return torch.from_numpy(words.view(np.int16))[:count]
