"""LoRA on the trunk: added to every block's q, k and v, and merged for serving."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn

from lamo.cloning import BehaviorCloning
from lamo.dropout import Dropout
from lamo.network import Network
from lamo.trunk import Trunk

TARGETS = ("q", "k", "v")
"""The maps that are adapted, each with matrices of its own; the paper's fused `c_attn` is these three."""


def add_lora(trunk: Trunk, *, rank: int, alpha: int, dropout: float) -> None:
    """Freeze the trunk, and give its q, k and v maps trainable low-rank updates and trainable biases.

    The updates are zero at first: the trunk computes what it computed before. Draws from torch's global generator.
    """
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=rf"blocks\.\d+\.attention\.({'|'.join(TARGETS)})",
        bias="lora_only",
    )
    inject_adapter_in_model(settings, trunk)
    for _, layer in _lora_layers(trunk):
        for adapter in layer.lora_dropout:
            layer.lora_dropout[adapter] = Dropout(dropout)  # of the same chance, but faster on a CPU


def lora_parameters(trunk: Trunk) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The low-rank matrices, and the biases of the maps they adapt; both empty where there is no LoRA."""
    matrices: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    for _, layer in _lora_layers(trunk):
        matrices += [*layer.lora_A.parameters(), *layer.lora_B.parameters()]
        biases += [item for name, item in layer.get_base_layer().named_parameters() if name == "bias"]
    return matrices, biases


@torch.no_grad()
def low_rank_updates(trunk: Trunk) -> Iterator[tuple[Tensor, Tensor]]:
    """What merging would add to each adapted weight, and the weight itself, both [out, in]; none without LoRA."""
    for _, layer in _lora_layers(trunk):
        for adapter in layer.active_adapters:
            yield cast(Linear, layer).get_delta_weight(adapter), layer.get_base_layer().get_parameter("weight")


@torch.no_grad()
def merge(network: Network) -> Network:
    """A float32 copy with LoRA folded into the weights: a plain network in evaluation mode.

    The network it is made from stays as it is.
    """
    merged = copy.deepcopy(network).float().eval()
    if isinstance(merged, BehaviorCloning):
        return merged.requires_grad_(False)
    for name, layer in list(_lora_layers(merged.trunk)):
        layer.merge()
        merged.trunk.set_submodule(name, layer.get_base_layer())
    return merged.requires_grad_(False)


def _lora_layers(trunk: Trunk) -> Iterator[tuple[str, LoraLayer]]:
    return ((name, module) for name, module in trunk.named_modules() if isinstance(module, LoraLayer))
