"""Linear: one linear map laid out once for inference, in whichever way is fastest on its device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PACKED_WEIGHTS = 1 << 18
"""From this many numbers on, oneDNN's packed weights pay on a CPU: 1.4 to 2.4 times as fast as torch's own product
at three tokens of GPT-2 small's maps read from memory, equal at a hundred; below, the call costs more than the
product (benchmarks/engine.py --only maps)."""


class Linear:
    """y = x W^T + b."""

    def __init__(
        self,
        weight: Tensor,  # [n_out, n_in]
        bias: Tensor,  # [n_out]
    ) -> None:
        self._bias = bias
        self._packed = _packs(weight)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if self._packed else weight

    def __call__(
        self,
        x: Tensor,  # [..., n_in]
    ) -> Tensor:  # [..., n_out]
        """The mapped numbers."""
        if self._packed:
            packed: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
            return packed
        return functional.linear(x, self._weight, self._bias)


def computing_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What arithmetic is done in where weights are kept in `dtype`.

    A CPU without bfloat16 instructions takes five times as long in bfloat16 as in float32: there the rounded
    weights are widened once, and sums lose nothing.
    """
    if dtype is torch.bfloat16 and device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported():
        return torch.float32
    return dtype


def _packs(weight: Tensor) -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    packable = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
    return available and packable and weight.numel() >= PACKED_WEIGHTS
