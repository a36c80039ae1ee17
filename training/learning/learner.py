"""Learner: the model, its optimizer, and one update, in as many parts as processes and memory ask for."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamo.batch import Batch
from lamo.model import LamoModel
from lamo.network import Network
from training.learning.adaptation import ADAPTED, trainable_groups, trainable_parameters
from training.learning.config import TrainConfig
from training.learning.objective import Losses, Objective, Whole, WordEmbeddings
from training.learning.processes import Processes

LARGE_TRUNK = 300_000_000
"""Parameters from which on a trunk's blocks are computed again on the way back: gpt2-medium's has 302 million."""


@dataclass(frozen=True)
class UpdateLosses:
    """What one update came to; tensors of no dimensions, still on the device so that nobody waits for it.

    Attributes:
        action: the action loss.
        language: the language loss, unweighted; None where there was no text.
        gradient_norm: global norm before clipping; 0 where fp16 overflowed and the update was skipped.
    """

    action: Tensor
    language: Tensor | None
    gradient_norm: Tensor


class Learner:
    """Moves what trains in a model with LoRA, one update at a time."""

    def __init__(
        self,
        model: Network,
        config: TrainConfig,
        processes: Processes,
        words: WordEmbeddings | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.processes = processes
        self.words = words
        self.parameters: dict[str, nn.Parameter] = trainable_parameters(model)
        if isinstance(model, LamoModel):
            wanted = config.gradient_checkpointing
            model.trunk.checkpointing = is_large(model.trunk) if wanted is None else wanted
        optimizer = torch.optim.AdamW(
            _optimizer_groups(model, config),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            eps=config.adam_epsilon,
            fused=True,
        )
        prepare = processes.accelerator
        self.optimizer = prepare.prepare_optimizer(optimizer, device_placement=False)
        self._objective = prepare.prepare_model(Objective(model, words))

    @property
    def trained_parameters(self) -> int:
        """How many numbers train."""
        return sum(item.numel() for item in self.parameters.values())

    def update(
        self,
        batch: Batch,
        token_ids: Tensor | None,  # [blocks, tokens]
        learning_rate: float,
    ) -> UpdateLosses:
        """One optimizer step on a batch of subtrajectories and, where there are words for it, one of text.

        Every process gives the same whole batch, and computes its own rows of it.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_factor"]
        self.optimizer.zero_grad()
        action, language = self._accumulate(batch, token_ids if self.words is not None else None)
        clip = self.processes.accelerator.clip_grad_norm_
        norm = clip(self.parameters.values(), self.config.gradient_clip)
        if self.config.precision == "fp16":
            norm = torch.where(norm.isfinite(), norm, 0.0)
        self.optimizer.step()
        return UpdateLosses(action, language, norm)

    def _accumulate(self, batch: Batch, token_ids: Tensor | None) -> Losses:
        """Add up the gradients of all parts; the losses of the whole update."""
        whole, parts = Whole.of(batch, token_ids), self.processes.count * self.config.accumulate
        first = self.processes.index * self.config.accumulate
        own = range(first, first + self.config.accumulate)
        action = torch.zeros((), device=batch.lengths.device)
        language = torch.zeros_like(action)
        for index in own:
            text = None if token_ids is None else token_ids.tensor_split(parts)[index]
            losses = self._backward(batch.part(index, parts), text, whole, last=index == own[-1])
            action += losses.action.detach()
            language += 0.0 if losses.language is None else losses.language.detach()
        action, language = self._over_processes(torch.stack((action, language)))
        return Losses(action, None if token_ids is None else language)

    def _backward(self, batch: Batch, token_ids: Tensor | None, whole: Whole, *, last: bool) -> Losses:
        accelerator = self.processes.accelerator
        if token_ids is not None and len(token_ids) == 0:  # fewer blocks of text than parts
            token_ids = None
        with nullcontext() if last else accelerator.no_sync(self._objective):
            losses: Losses = self._objective(batch, token_ids, whole)
            loss = losses.action
            if losses.language is not None:
                loss = loss + self.config.language_loss_weight * losses.language
            accelerator.backward(loss * self.processes.count)  # gradients are averaged over the processes
        return losses

    def _over_processes(self, losses: Tensor) -> Tensor:
        if self.processes.count == 1:
            return losses
        summed: Tensor = self.processes.accelerator.reduce(losses, reduction="sum")
        return summed


def is_large(trunk: nn.Module) -> bool:
    """Whether a trunk's activations are worth less than the memory they take, unless said otherwise."""
    return sum(item.numel() for item in trunk.parameters()) >= LARGE_TRUNK


def _optimizer_groups(model: Network, config: TrainConfig) -> list[dict[str, Any]]:
    """LoRA and all the rest, each with its factor on the learning rate; in the order of `trainable_parameters`."""
    groups = trainable_groups(model)
    adapted = [item for kind in ADAPTED for item in groups.get(kind, {}).values()]
    rest = [item for kind, group in groups.items() if kind not in ADAPTED for item in group.values()]
    factor = 1.0 if config.lora_learning_rate is None else config.lora_learning_rate / config.learning_rate
    return [{"params": items, "lr_factor": share} for items, share in ((adapted, factor), (rest, 1.0)) if items]


def learning_rate_at(config: TrainConfig, update: int) -> float:
    """The learning rate of an update, counted from 1: linear warm-up, then constant."""
    return config.learning_rate * min(1.0, update / max(1, config.warm_up))
