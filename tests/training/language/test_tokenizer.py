"""Tokenizers: trained as byte-level BPE, loaded from beside a model."""

from pathlib import Path

import pytest

from lamo.errors import ConfigError, LanguageModelError
from training.language.corpus import python_topics
from training.language.tokenizer import load_tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(python_topics()[:10], vocab_size=400, context=64)


@pytest.mark.parametrize("text", ["The statement.", " two  spaces\n\nand\ttab ", "naïve — 東京 🤖", "\x00\x7f"])
def test_any_text_survives_the_round_trip(tokenizer, text: str):
    assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text


def test_merges_make_text_shorter_than_its_bytes(tokenizer):
    assert len(tokenizer) == 400
    assert len(tokenizer(python_topics()[0])["input_ids"]) < 0.7 * len(python_topics()[0].encode())


def test_a_saved_tokenizer_gives_the_same_tokens(tokenizer, tmp_path: Path):
    tokenizer.save_pretrained(tmp_path)
    text = python_topics()[3]
    loaded = load_tokenizer(str(tmp_path))
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert (loaded.eos_token, loaded.eos_token_id) == ("<|endoftext|>", tokenizer.eos_token_id)


def test_a_folder_with_one_tokenizer_file_under_another_name_is_read(tokenizer, tmp_path: Path):
    tokenizer.backend_tokenizer.save(str(tmp_path / "aitextgen.tokenizer.json"))
    loaded = load_tokenizer(str(tmp_path))
    assert loaded("a statement")["input_ids"] == tokenizer("a statement")["input_ids"]
    assert loaded.eos_token == "<|endoftext|>"


def test_a_folder_without_tokenizer_is_refused_by_name(tmp_path: Path):
    with pytest.raises(LanguageModelError, match=f"{tmp_path.name} has no tokenizer"):
        load_tokenizer(str(tmp_path))


def test_a_broken_tokenizer_file_is_refused_by_name(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{not json")
    with pytest.raises(LanguageModelError, match=f"{tmp_path.name} has no tokenizer"):
        load_tokenizer(str(tmp_path))


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(ConfigError, match="vocab_size is 256, a byte-level vocabulary takes 257 or more"):
        train_tokenizer(["text"], vocab_size=256, context=64)
