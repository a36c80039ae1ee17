"""LoRA on the trunk: added to every block's q, k and v, told apart from the frozen rest, and merged for serving."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from lamo.dropout import Dropout
from lamo.model import LamoModel
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


def trainable_groups(model: LamoModel) -> dict[str, dict[str, nn.Parameter]]:
    """What trains, by kind and by name in the model; everything else is frozen here.

    `lora`: the low-rank matrices; `bias`: the biases of the adapted maps; `embeddings` and `head`: everything
    outside the trunk, which peft would freeze along with it.
    """
    lora: set[int] = set()
    biases: set[int] = set()
    for _, layer in _lora_layers(model.trunk):
        lora.update(id(parameter) for parameter in (*layer.lora_A.parameters(), *layer.lora_B.parameters()))
        biases.add(id(layer.get_base_layer().bias))
    head = {id(parameter) for parameter in model.predict_action.parameters()}
    frozen = {id(parameter) for parameter in model.trunk.parameters()} - lora - biases
    groups: dict[str, dict[str, nn.Parameter]] = {"lora": {}, "bias": {}, "embeddings": {}, "head": {}}
    for name, parameter in model.named_parameters():
        identity = id(parameter)
        parameter.requires_grad_(identity not in frozen)
        if parameter.requires_grad:
            kinds = {"lora": lora, "bias": biases, "head": head}
            kind = next((kind for kind, members in kinds.items() if identity in members), "embeddings")
            groups[kind][name] = parameter
    return groups


def trainable_parameters(model: LamoModel) -> dict[str, nn.Parameter]:
    """All that trains, by name in the model."""
    return {name: item for group in trainable_groups(model).values() for name, item in group.items()}


@torch.no_grad()
def merge(model: LamoModel) -> LamoModel:
    """A float32 copy with LoRA folded into the weights: a plain `LamoModel` in evaluation mode.

    The model it is made from stays as it is.
    """
    merged = copy.deepcopy(model).float().eval()
    for name, layer in list(_lora_layers(merged.trunk)):
        layer.merge()
        merged.trunk.set_submodule(name, layer.get_base_layer())
    return merged.requires_grad_(False)


def _lora_layers(trunk: Trunk) -> Iterator[tuple[str, LoraLayer]]:
    return ((name, module) for name, module in trunk.named_modules() if isinstance(module, LoraLayer))
