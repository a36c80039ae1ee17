"""Text: read, tokenised, drawn in blocks."""

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from lamo.errors import DatasetError
from training.language.corpus import (
    LanguageBatches,
    load_corpus,
    python_topics,
    read_documents,
    text_files,
    tokenize,
)
from training.language.tokenizer import train_tokenizer


def batches(token_ids, seed=0):
    return LanguageBatches(token_ids, batch_size=5, length=8, generator=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(python_topics()[:10], vocab_size=300, context=64)


def test_plain_xz_and_gz_files_of_a_folder_give_their_documents_in_order(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one\n<|endoftext|>\ntwo", encoding="utf-8")
    with lzma.open(tmp_path / "b.txt.xz", "wt", encoding="utf-8") as file:
        file.write("three — dash<|endoftext|>\n\n<|endoftext|>")
    with gzip.open(tmp_path / "c.txt.gz", "wt", encoding="utf-8") as file:
        file.write("four")
    (tmp_path / "index.json").write_text("{}")
    assert list(read_documents(text_files([tmp_path]))) == ["one", "two", "three — dash", "four"]


def test_a_separator_across_two_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("training.language.corpus._CHUNK_CHARACTERS", 5)
    (tmp_path / "a.txt").write_text("a longer one<|endoftext|>and another", encoding="utf-8")
    assert list(read_documents([tmp_path / "a.txt"])) == ["a longer one", "and another"]


def test_a_missing_text_file_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"text file .*novel\.txt does not exist"):
        text_files([tmp_path / "novel.txt"])


def test_a_file_of_another_kind_is_refused_with_the_kinds_that_are_read(tmp_path: Path):
    (tmp_path / "novel.pdf").write_bytes(b"%PDF")
    with pytest.raises(DatasetError, match=r"novel\.pdf is none of \.txt, \.txt\.xz, \.txt\.gz"):
        text_files([tmp_path / "novel.pdf"])


def test_a_folder_without_text_is_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"holds no \.txt"):
        text_files([tmp_path])


@pytest.mark.parametrize("content", ["", " \n", "<|endoftext|>\n<|endoftext|>"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str):
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(DatasetError, match=r"empty\.txt is empty"):
        list(read_documents([tmp_path / "empty.txt"]))


def test_a_truncated_archive_is_refused(tmp_path: Path):
    whole = lzma.compress(np.random.default_rng(0).bytes(4000).hex().encode())
    (tmp_path / "cut.txt.xz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"cut\.txt\.xz cannot be read"):
        list(read_documents([tmp_path / "cut.txt.xz"]))


def test_text_in_another_encoding_is_refused(tmp_path: Path):
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"latin\.txt cannot be read"):
        list(read_documents([tmp_path / "latin.txt"]))


def test_documents_are_tokenised_one_after_the_other_with_an_end_after_each(tokenizer):
    token_ids = tokenize(["first text", "second"], tokenizer)
    assert token_ids.dtype == np.int32
    assert tokenizer.decode(token_ids) == "first text<|endoftext|>second<|endoftext|>"


def test_without_paths_the_text_is_pythons_own_documentation(tokenizer):
    corpus = load_corpus([], tokenizer)
    assert corpus.names[0].startswith("Python 3.")
    assert 'The "if" statement' in tokenizer.decode(corpus.token_ids)


def test_the_identity_of_a_corpus_changes_with_one_token(tmp_path: Path, tokenizer):
    path = tmp_path / "a.txt"
    path.write_text("some text")
    before = load_corpus([path], tokenizer).identity
    assert before == load_corpus([path], tokenizer).identity
    path.write_text("some test")
    after = load_corpus([path], tokenizer).identity
    assert (before.names, before.sha256 == after.sha256) == (("a.txt",), False)
    assert before.tokens == len(tokenizer("some text")["input_ids"]) + 1


def test_every_row_of_a_batch_is_a_contiguous_block():
    batch = batches(np.arange(1000, 1100, dtype=np.int32)).draw()
    assert (batch.shape, batch.dtype) == ((5, 8), np.int64)
    assert np.array_equal(batch, batch[:, :1] + np.arange(8))


def test_blocks_start_everywhere_and_nowhere_else():
    sampler = batches(np.arange(12))
    starts = {int(start) for _ in range(50) for start in sampler.draw()[:, 0]}
    assert starts == {0, 1, 2, 3, 4}


def test_a_text_of_exactly_one_block_can_be_drawn():
    assert np.array_equal(batches(np.arange(8)).draw()[0], np.arange(8))


def test_the_same_seed_draws_the_same_batches():
    first, second, other = batches(np.arange(999)), batches(np.arange(999)), batches(np.arange(999), seed=1)
    drawn = first.draw()
    assert np.array_equal(drawn, second.draw())
    assert not np.array_equal(drawn, other.draw())


def test_a_saved_state_continues_exactly_also_through_json():
    sampler = batches(np.arange(999))
    sampler.draw()
    state = json.loads(json.dumps(sampler.state))
    expected = [sampler.draw() for _ in range(3)]
    restored = batches(np.arange(999), seed=7)
    restored.state = state
    assert np.array_equal(expected, [restored.draw() for _ in range(3)])


def test_a_text_shorter_than_one_block_is_refused_with_the_numbers():
    with pytest.raises(DatasetError, match="has 7 tokens, a block takes 8"):
        batches(np.arange(7))
