"""Maps: one linear map of a trunk computed in every way that might be fastest on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from results import markdown_table
from torch import Tensor
from torch.nn import functional
from turns import fastest

SIZES = {
    "gpt2-small q, k, v": (2304, 768),
    "gpt2-small fc": (3072, 768),
    "gpt2-small proj": (768, 3072),
    "gpt2-small attention proj": (768, 768),
    "demo q, k, v": (384, 128),
    "demo fc": (512, 128),
}
"""[n_out, n_in]; shapes between them tell where packing begins to pay."""

TOKENS = (3, 24, 96)
WAYS = ("linear", "addmm", "packed", "bfloat16", "int8")
ACTIVATED = ("linear, then GELU", "packed with GELU", "packed, then GELU")


@dataclass(frozen=True)
class Timed:
    """One map of so many tokens: microseconds of each way."""

    title: str
    tokens: int
    microseconds: dict[str, float]


class Map:
    """The same map, laid out in every way; weights are normal, which is how wide GPT-2's are near zero."""

    def __init__(self, n_out: int, n_in: int, tokens: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(n_out, n_in, generator=generator) * n_in**-0.5
        self.bias = torch.zeros(n_out)
        self.numbers = torch.randn(tokens, n_in, generator=generator)

    def ways(self) -> dict[str, Callable[[], Tensor]]:
        """Named as in WAYS and ACTIVATED."""
        x, weight, bias = self.numbers, self.weight, self.bias
        transposed = weight.t().contiguous()
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        half_x, half_weight, half_bias = x.bfloat16(), weight.bfloat16(), bias.bfloat16()
        quantized, scale = quantize(weight)
        half_scale = scale.bfloat16()

        def pointwise(activation: str) -> Tensor:
            return torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], "tanh")

        def gelu(numbers: Tensor) -> Tensor:
            return functional.gelu(numbers, approximate="tanh")

        return {
            "linear": lambda: functional.linear(x, weight, bias),
            "addmm": lambda: torch.addmm(bias, x, transposed),
            "packed": lambda: pointwise("none"),
            "bfloat16": lambda: functional.linear(half_x, half_weight, half_bias),
            "int8": lambda: torch._weight_int8pack_mm(half_x, quantized, half_scale),
            "linear, then GELU": lambda: gelu(functional.linear(x, weight, bias)),
            "packed, then GELU": lambda: gelu(pointwise("none")),
            "packed with GELU": lambda: pointwise("gelu"),
        }


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 with one scale for each output, symmetric: [n_out, n_in] and [n_out]."""
    scale = weight.abs().amax(dim=1) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


@torch.inference_mode()
def measure_maps(seconds: float) -> list[Timed]:
    """Every size at every number of tokens, the ways taking turns."""
    timed = []
    for title, (n_out, n_in) in SIZES.items():
        for tokens in TOKENS:
            took = fastest(Map(n_out, n_in, tokens).ways(), seconds)
            timed.append(Timed(f"{title}, {n_out} x {n_in}", tokens, {way: 1e6 * took[way] for way in took}))
    return timed


@torch.inference_mode()
def int8_errors(weights: dict[str, Tensor]) -> dict[str, float]:
    """Of each map: root mean square of the error by int8 weights over that of the outputs, for normal inputs."""
    errors = {}
    for name, weight in weights.items():
        x = torch.randn(256, weight.shape[1], generator=torch.Generator().manual_seed(0))
        quantized, scale = quantize(weight)
        exact = x @ weight.t()
        errors[name] = ((x @ (quantized * scale[:, None]).t() - exact).norm() / exact.norm()).item()
    return errors


def maps_table(timed: list[Timed]) -> str:
    """One row per map and number of tokens, microseconds."""
    ways = (*WAYS, *ACTIVATED)
    rows = [[item.title, str(item.tokens), *(f"{item.microseconds[way]:.0f}" for way in ways)] for item in timed]
    return markdown_table("|".join(("map", "tokens", *ways)), rows)
