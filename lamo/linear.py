"""Linear: linear maps laid out once for inference, in whichever way is fastest on their device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lamo.scripted import LinearMap

PACKED_WEIGHTS = 1 << 18
"""From this many numbers on, oneDNN's packed weights pay on a CPU: 1.4 to 2.4 times as fast as torch's own product
at three tokens of GPT-2 small's maps read from memory, equal at a hundred; below, the call costs more than the
product (benchmarks/engine.py --only maps)."""


def joined(*layers: nn.Linear) -> LinearMap:
    """Several maps of the same numbers as one."""
    weight = torch.cat([layer.weight for layer in layers]).detach()
    bias = torch.cat([layer.bias for layer in layers]).detach()
    packed = _packs(weight)
    if packed:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return LinearMap(weight, bias, packed=packed)


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
