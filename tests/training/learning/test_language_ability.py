"""A trunk's language ability is the loss of the language model it came from, on text no loss trains on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from lamo.model import LamoModel
from lamo.trunk import PretrainedTrunk
from training.language.corpus import Corpus
from training.language.held_out import mean_loss
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.learning.language_ability import TOKENS, LanguageAbility

ConfigMaker = Callable[..., TrainConfig]


@pytest.mark.parametrize("preset", ["paper", "fixed"])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_before_training_it_is_the_language_models_own_loss(
    tiny_config: ConfigMaker, tiny_lm: Path, preset: str, weight: float
) -> None:
    experiment = Experiment.prepare(tiny_config(preset=preset, language_loss_weight=weight))
    model, ability = experiment.model.eval(), experiment.language_ability
    assert isinstance(model, LamoModel)
    assert ability is not None
    language_model = GPT2LMHeadModel.from_pretrained(tiny_lm)
    theirs = mean_loss(language_model, ability.blocks.numpy().astype(np.int32))
    assert ability.loss(model.trunk) == pytest.approx(theirs, rel=1e-5)


def test_a_text_is_split_into_what_is_trained_on_and_its_end() -> None:
    corpus = Corpus(("text",), np.arange(200, dtype=np.int32))
    assert corpus.trained.tolist() == list(range(190))
    assert corpus.held_out.tolist() == list(range(190, 200))
    assert len(Corpus(("text",), np.arange(12, dtype=np.int32)).held_out) == 2


def test_no_batch_of_the_language_loss_reaches_into_the_held_out_text(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config())
    assert experiment.text is not None
    drawn = experiment.text.batches._token_ids
    assert len(drawn) == experiment.text.identity.tokens - round(0.05 * experiment.text.identity.tokens)


def test_of_a_long_text_some_blocks_are_predicted_from_its_beginning_to_its_end(tiny_lm: Path) -> None:
    pretrained = PretrainedTrunk.load(str(tiny_lm))
    text = np.arange(20 * TOKENS, dtype=np.int32)
    blocks = LanguageAbility.of(text, pretrained, torch.device("cpu")).blocks
    assert blocks.shape == (TOKENS // 32, 32)
    assert blocks[0, 0] == 0
    assert blocks[-1, -1] == len(text) - 1


def test_a_text_shorter_than_a_block_is_one_block(tiny_lm: Path) -> None:
    pretrained = PretrainedTrunk.load(str(tiny_lm))
    ability = LanguageAbility.of(np.array([5, 6, 7], np.int32), pretrained, torch.device("cpu"))
    assert ability.blocks.tolist() == [[5, 6, 7]]
