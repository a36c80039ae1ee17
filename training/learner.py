"""Learner: the model, its optimizer, and one update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lamo.batch import Batch
from lamo.cloning import BehaviorCloning
from lamo.network import Network
from training.adaptation import ADAPTED, trainable_groups, trainable_parameters
from training.config import TrainConfig
from training.losses import action_loss, language_loss


@dataclass(frozen=True)
class WordEmbeddings:
    """The language model's frozen embeddings, for the language loss.

    Attributes:
        wte: [vocab_size, n_embd].
        wpe: [n_positions, n_embd]; None where language tokens get no position (`TrainConfig.preset`).
    """

    wte: Tensor
    wpe: Tensor | None


@dataclass(frozen=True)
class UpdateLosses:
    """What one update came to; tensors of no dimensions, still on the device so that nobody waits for it.

    Attributes:
        action: the action loss.
        language: the language loss, unweighted; None where there was no text.
        gradient_norm: global norm before clipping.
    """

    action: Tensor
    language: Tensor | None
    gradient_norm: Tensor


class Learner:
    """Moves what trains in a model with LoRA, one update at a time."""

    def __init__(self, model: Network, config: TrainConfig, words: WordEmbeddings | None = None) -> None:
        self.model = model
        self.config = config
        self.words = words
        self.parameters: dict[str, nn.Parameter] = trainable_parameters(model)
        self.optimizer = torch.optim.AdamW(
            _optimizer_groups(model, config),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            eps=config.adam_epsilon,
            fused=True,
        )

    def update(
        self,
        batch: Batch,
        token_ids: Tensor | None,  # [blocks, tokens]
        learning_rate: float,
    ) -> UpdateLosses:
        """One optimizer step on a batch of subtrajectories and, where there are words for it, one of text."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_factor"]
        action = action_loss(self.model(batch), batch.actions, batch.attention_mask)
        language = self._language_loss(token_ids)
        loss = action if language is None else action + self.config.language_loss_weight * language
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.gradient_clip)
        self.optimizer.step()
        return UpdateLosses(action.detach(), None if language is None else language.detach(), norm)

    def _language_loss(self, token_ids: Tensor | None) -> Tensor | None:
        if token_ids is None or self.words is None or isinstance(self.model, BehaviorCloning):
            return None
        return language_loss(self.model.trunk, token_ids, self.words.wte, self.words.wpe)


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
