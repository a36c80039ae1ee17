"""Objective: both losses of a part of an update as one module, which several devices can share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from lamo.batch import Batch
from lamo.cloning import BehaviorCloning
from lamo.network import Network
from training.learning.losses import action_loss, language_loss


@dataclass(frozen=True)
class WordEmbeddings:
    """The language model's frozen embeddings, for the language loss.

    Attributes:
        wte: [vocab_size, n_embd].
        wpe: [n_positions, n_embd]; None where language tokens get no position (`TrainConfig.language_positions`).
    """

    wte: Tensor
    wpe: Tensor | None


@dataclass(frozen=True)
class Whole:
    """What the losses of a whole update are averaged over, however many parts it is computed in.

    Attributes:
        timesteps: real timesteps, no dimensions.
        words: predicted tokens; 0 where there is no text.
    """

    timesteps: Tensor
    words: int

    @classmethod
    def of(
        cls,
        batch: Batch,
        token_ids: Tensor | None,  # [blocks, tokens]
    ) -> Whole:
        """Of an update's whole batch and text. Nobody waits for the device."""
        return cls(batch.lengths.sum(), 0 if token_ids is None else token_ids[:, 1:].numel())


class Losses(NamedTuple):
    """A part's shares of the update's losses: the sum over the parts is the mean over the update."""

    action: Tensor
    language: Tensor | None


class Objective(nn.Module):
    """Subtrajectories and text in, their shares of both losses out."""

    def __init__(self, model: Network, words: WordEmbeddings | None) -> None:
        super().__init__()
        self.model = model
        self.words = words

    def forward(
        self,
        batch: Batch,
        token_ids: Tensor | None,  # [blocks, tokens]; None without language loss
        whole: Whole,
    ) -> Losses:
        """Both losses, as shares of the whole update's."""
        action = action_loss(self.model(batch), batch.actions, batch.attention_mask, whole.timesteps)
        if token_ids is None or self.words is None or isinstance(self.model, BehaviorCloning):
            return Losses(action, None)
        wte, wpe = self.words.wte, self.words.wpe
        return Losses(action, language_loss(self.model.trunk, token_ids, wte, wpe, whole.words))
