"""Adaptation: which parameters of a network train; the rest is frozen."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from lamo.cloning import BehaviorCloning
from lamo.network import Network
from training.learning.config import Adaptation
from training.learning.lora import add_lora, lora_parameters

ADAPTED = ("lora", "bias")
"""The groups that LoRA's own learning rate is for."""


def adapt(network: Network, adaptation: Adaptation, *, rank: int, alpha: int, dropout: float) -> None:
    """Freeze what does not train. The paper's "lora" adds its updates, drawn from torch's global generator."""
    if isinstance(network, BehaviorCloning):
        return
    if adaptation == "lora":
        add_lora(network.trunk, rank=rank, alpha=alpha, dropout=dropout)
    elif adaptation == "frozen":
        network.trunk.requires_grad_(False)


def trainable_groups(network: Network) -> dict[str, dict[str, nn.Parameter]]:
    """What trains, by kind and by name in the network, without kinds that a network does not have.

    `lora`: the low-rank matrices; `bias`: the biases of the maps they adapt; `trunk`: what else of the trunk
    trains; `embeddings` and `head`: what lies before and behind it.
    """
    kinds = _kinds(network)
    groups: dict[str, dict[str, nn.Parameter]] = {}
    for kind in ("lora", "bias", "trunk", "embeddings", "head"):
        members = {
            name: parameter
            for name, parameter in network.named_parameters()
            if parameter.requires_grad and kinds.get(id(parameter), "embeddings") == kind
        }
        if members:
            groups[kind] = members
    return groups


def trainable_parameters(network: Network) -> dict[str, nn.Parameter]:
    """All that trains, by name in the network, group after group."""
    return {name: item for group in trainable_groups(network).values() for name, item in group.items()}


def _kinds(network: Network) -> Mapping[int, str]:
    """The kind of every parameter, by its identity; those not named are embeddings."""
    kinds = {id(parameter): "head" for parameter in network.predict_action.parameters()}
    if isinstance(network, BehaviorCloning):
        return kinds
    kinds |= {id(parameter): "trunk" for parameter in network.trunk.parameters()}
    matrices, biases = lora_parameters(network.trunk)
    kinds |= {id(parameter): "lora" for parameter in matrices}
    return kinds | {id(parameter): "bias" for parameter in biases}
