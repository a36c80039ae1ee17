"""Maps: one linear map of a trunk computed in every way that might be fastest on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from network.turns import fastest
from pages.page import markdown_table
from torch import Tensor
from torch.nn import functional

SIZES = {
    "gpt2-small fc": (3072, 768),
    "gpt2-small proj": (768, 3072),
    "gpt2-small attention proj": (768, 768),
    "demo fc": (512, 128),
}
"""[n_out, n_in]."""

COLD_BYTES = 1 << 27
"""Large maps go round in copies of so much together: a network's other weights have put a map out of the cache
when its turn comes again."""

CACHED_BYTES = 1 << 20
"""Maps smaller than this stay in a cache, and so does the network that they belong to."""

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
    """The same map, laid out in every way; weights are normal with a variance of 1 / n_in."""

    def __init__(self, n_out: int, n_in: int, tokens: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self._weight = torch.randn(n_out, n_in, generator=generator) * n_in**-0.5
        self._bias = torch.zeros(n_out)
        self._numbers = torch.randn(tokens, n_in, generator=generator)
        cold = self._weight.nbytes > CACHED_BYTES
        self.copies = COLD_BYTES // self._weight.nbytes if cold else 1

    def ways(self) -> dict[str, Callable[[], None]]:
        """Each computes all copies once; named as in WAYS and ACTIVATED."""
        half = self._numbers.bfloat16(), self._bias.bfloat16()
        quantized, scale = quantize(self._weight)
        scale = scale.bfloat16()
        plain, packed = self._round(self._weight.clone), self._round(self._pack)
        return {
            "linear": plain(self._linear),
            "addmm": self._round(lambda: self._weight.t().contiguous())(
                lambda weight: torch.addmm(self._bias, self._numbers, weight)
            ),
            "packed": packed(self._packed),
            "bfloat16": self._round(self._weight.bfloat16)(lambda w: functional.linear(half[0], w, half[1])),
            "int8": self._round(quantized.clone)(lambda w: torch._weight_int8pack_mm(half[0], w, scale)),
            "linear, then GELU": plain(lambda weight: _gelu(self._linear(weight))),
            "packed, then GELU": packed(lambda weight: _gelu(self._packed(weight))),
            "packed with GELU": packed(lambda weight: self._packed(weight, "gelu")),
        }

    def _round(self, lay_out: Callable[[], Tensor]) -> Callable[[Callable[[Tensor], Tensor]], Callable[[], None]]:
        copies = [lay_out() for _ in range(self.copies)]

        def of(way: Callable[[Tensor], Tensor]) -> Callable[[], None]:
            def run() -> None:
                for copy in copies:
                    way(copy)

            return run

        return of

    def _pack(self) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self._weight, None)

    def _linear(self, weight: Tensor) -> Tensor:
        return functional.linear(self._numbers, weight, self._bias)

    def _packed(self, weight: Tensor, activation: str = "none") -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(self._numbers, weight, self._bias, activation, [], "tanh")


def _gelu(numbers: Tensor) -> Tensor:
    return functional.gelu(numbers, approximate="tanh")


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
            laid_out = Map(n_out, n_in, tokens)
            took = fastest(laid_out.ways(), seconds)
            each = {way: 1e6 * seconds / laid_out.copies for way, seconds in took.items()}
            timed.append(Timed(f"{title}, {n_out} x {n_in}", tokens, each))
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
