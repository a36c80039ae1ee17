"""The committed seed language model: small, complete, and trained for real."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

import training
from training.language.held_out import next_token_loss

FOLDER = Path(training.__file__).parent / "seed_lm"

SENTENCES = (
    "The old man opened the door, and looked at her without a word.",
    "She had never been in London before, and everything was new to her.",
    "He walked slowly along the road until he came to the house of his brother.",
    "It was very late, and there was no light in any of the windows.",
    "The robot arm moved the box from the table to the floor.",
)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(FOLDER).eval()


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(FOLDER)


def loss(model, tokenizer) -> float:
    rows = [tokenizer(sentence, return_tensors="np")["input_ids"] for sentence in SENTENCES]
    with torch.no_grad():
        return sum(float(next_token_loss(model, row)) for row in rows) / len(rows)


def test_its_trunk_has_at_most_a_million_parameters(model):
    assert sum(parameter.numel() for parameter in model.transformer.parameters()) <= 1_000_000


def test_its_files_take_at_most_eight_megabytes():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 8_000_000


def test_it_is_a_plain_gpt2_whose_tokenizer_fits_it(model, tokenizer):
    assert model.config.model_type == "gpt2"
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert tokenizer.model_max_length == model.config.n_positions


def test_it_predicts_english_far_better_than_the_same_network_untrained(model, tokenizer):
    torch.manual_seed(0)
    untrained = GPT2LMHeadModel(model.config).eval()
    assert loss(model, tokenizer) < 0.6 * loss(untrained, tokenizer)


def test_every_weight_is_finite(model):
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_its_card_names_its_texts_and_their_licences():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for fact in (
        "ELTeC",
        "CC BY 4.0",
        "100_english_novels",
        "public domain",
        "lamo-train pretrain",
        "untrained",
    ):
        assert fact in card
