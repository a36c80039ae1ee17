"""UpdateNorm: how far a trunk has moved from the weights it began with, relative to them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lamo.cloning import BehaviorCloning
from lamo.network import Network
from training.learning.lora import low_rank_updates


class UpdateNorm:
    """Measures the trunk of one run.

    With LoRA: the Frobenius norm of all low-rank updates over that of the weights they are added to, as LoRA is
    merged (Hu et al. 2022, section 4.1); the biases that train with it are left out. Where the whole trunk trains:
    the norm of the difference from its start over the norm of its start. Where it is frozen: 0.

    Args:
        network: as it was before its first update.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._start: dict[str, Tensor] = {}
        if isinstance(network, BehaviorCloning) or any(low_rank_updates(network.trunk)):
            return
        for name, parameter in network.trunk.named_parameters():
            if parameter.requires_grad:
                self._start[name] = parameter.detach().cpu().clone()

    @torch.no_grad()
    def measure(self) -> float | None:
        """The relative norm now; None for a network without a trunk."""
        if isinstance(self._network, BehaviorCloning):
            return None
        pairs = list(low_rank_updates(self._network.trunk))
        if not pairs:
            now = dict(self._network.trunk.named_parameters())
            pairs = [(now[name].cpu() - start, start) for name, start in self._start.items()]
        return _norm(moved for moved, _ in pairs) / _norm(start for _, start in pairs) if pairs else 0.0


def _norm(tensors: Iterable[Tensor]) -> float:
    return float(torch.stack([tensor.float().norm().cpu() for tensor in tensors]).norm())
