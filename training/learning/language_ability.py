"""LanguageAbility: how well a trunk still predicts text, as the language model it came from did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamo.trunk import PretrainedTrunk, Trunk
from training.learning.losses import language_loss

TOKENS = 4096
"""At most so many are predicted: the error of their mean is near 0.05 nats, that of a difference far less."""

LONGEST_BLOCK = 512
"""Tokens predicted at once: GPT-2's 50257 logits for each of them take 100 MB."""


@dataclass(frozen=True, eq=False)
class LanguageAbility:
    """A language model's head and held-out text for it.

    Attributes:
        blocks: [count, length] int64, evenly spread over the held-out text.
        wte: [vocab_size, n_embd].
        wpe: [n_positions, n_embd]; as GPT-2 was pretrained, also where the run's language loss leaves it out.
    """

    blocks: Tensor
    wte: Tensor
    wpe: Tensor

    @classmethod
    def of(
        cls,
        token_ids: NDArray[np.int32],  # [tokens], at least two
        pretrained: PretrainedTrunk,
        device: torch.device,
    ) -> LanguageAbility:
        """What is measured on a held-out text."""
        length = min(LONGEST_BLOCK, len(pretrained.wpe), len(token_ids))
        count = len(token_ids) // length
        chosen = np.linspace(0, count - 1, min(count, TOKENS // length)).astype(int)
        blocks = token_ids[: count * length].reshape(count, length)[chosen].astype(np.int64)
        return cls(torch.from_numpy(blocks).to(device), pretrained.wte.to(device), pretrained.wpe.to(device))

    @torch.no_grad()
    def loss(self, trunk: Trunk) -> float:
        """Mean cross-entropy of the next token, nats per token; the trunk's dropout should be off."""
        losses = [language_loss(trunk, block[None], self.wte, self.wpe) for block in self.blocks]
        return float(torch.stack(losses).mean())
