"""Held-out text: kept away from training, and how well a model predicts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

from lamo.errors import DatasetError
from training.language.corpus import tokenize

BLOCKS = 256
"""At most so many blocks of a text are scored, evenly spread: enough for two digits of the loss."""

BLOCKS_AT_ONCE = 16


@dataclass(frozen=True)
class HeldOutText:
    """A text as blocks to score.

    Attributes:
        name: what reports call it.
        blocks: int32 [count, length], without overlap, evenly spread over the text.
        bytes_per_token: of the whole text, in UTF-8.
    """

    name: str
    blocks: NDArray[np.int32]
    bytes_per_token: float


@dataclass(frozen=True)
class TextLoss:
    """How well a text is predicted, before and after pretraining.

    Attributes:
        name: of the text.
        tokens: how many of its tokens were scored.
        bytes_per_token: of the whole text, in UTF-8.
        untrained: mean cross-entropy of the random initial weights, nats per token.
        trained: the same of the trained weights.
    """

    name: str
    tokens: int
    bytes_per_token: float
    untrained: float
    trained: float

    @property
    def bits_per_byte(self) -> float:
        """The trained loss in the one unit that compares models with different tokenizers."""
        return self.trained / math.log(2) / self.bytes_per_token


def split_documents(
    documents: Sequence[str], held_out_share: float, generator: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Documents to train on and documents held out, at least one of each; of a lone document its end.

    Whole documents, because passages of one novel share its names and its style.
    """
    if len(documents) == 1:
        cut = round(len(documents[0]) * (1 - held_out_share))
        return [documents[0][:cut]], [documents[0][cut:]]
    count = min(max(1, round(held_out_share * len(documents))), len(documents) - 1)
    held_out = set(generator.permutation(len(documents))[:count].tolist())
    return (
        [text for index, text in enumerate(documents) if index not in held_out],
        [text for index, text in enumerate(documents) if index in held_out],
    )


def held_out_text(
    name: str, documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, length: int
) -> HeldOutText:
    """Cuts documents into blocks of `length` tokens and takes at most `BLOCKS` of them.

    Raises:
        DatasetError: the text is shorter than one block.
    """
    token_ids = tokenize(documents, tokenizer)
    count = len(token_ids) // length
    if count == 0:
        raise DatasetError(f"{name}: {len(token_ids)} tokens to evaluate on, one block takes {length}")
    chosen = np.linspace(0, count - 1, min(count, BLOCKS)).astype(int)
    blocks = token_ids[: count * length].reshape(count, length)[chosen]
    return HeldOutText(name, blocks, sum(len(text.encode()) for text in documents) / len(token_ids))


@torch.no_grad()
def mean_loss(model: GPT2LMHeadModel, blocks: NDArray[np.int32]) -> float:  # blocks [count, length]
    """Mean next-token cross-entropy over all blocks, nats per token."""
    parts = np.array_split(blocks, math.ceil(len(blocks) / BLOCKS_AT_ONCE))
    return sum(float(next_token_loss(model, part)) * len(part) for part in parts) / len(blocks)


def next_token_loss(model: GPT2LMHeadModel, blocks: NDArray[np.integer[Any]]) -> Tensor:
    """Mean cross-entropy of every token of `blocks` [batch, length] but the first, nats; a scalar."""
    token_ids = torch.from_numpy(blocks.astype(np.int64)).to(model.device)
    logits = model(input_ids=token_ids, use_cache=False).logits  # [batch, length, vocabulary]
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten())
