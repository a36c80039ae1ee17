"""Text for language models: read from files, tokenised once, drawn as random contiguous blocks."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import lzma
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from lamo.errors import DatasetError

END_OF_TEXT = "<|endoftext|>"
"""Separates the documents of a text file; GPT-2's own token for it."""

SUFFIXES = (".txt", ".txt.xz", ".txt.gz")

HELD_OUT_SHARE = 0.05
"""Share of a text's tokens, at its end, that the language loss never sees."""

_CHUNK_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class CorpusIdentity:
    """What tells one tokenised text from another, small enough to be written beside what was trained on it.

    Attributes:
        names: the files' names without their folders, or the name of the built-in text.
        tokens: how many tokens there are.
        sha256: hex digest of the tokens as little-endian 32-bit integers.
    """

    names: tuple[str, ...]
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Corpus:
    """A text as its tokens: every document followed by the end-of-text token.

    Attributes:
        names: see `CorpusIdentity`.
        token_ids: int32 [tokens].
    """

    names: tuple[str, ...]
    token_ids: NDArray[np.int32]

    @property
    def identity(self) -> CorpusIdentity:
        """Names, size and hash of this corpus."""
        digest = hashlib.sha256(self.token_ids.astype("<i4").tobytes()).hexdigest()
        return CorpusIdentity(self.names, len(self.token_ids), digest)

    @property
    def trained(self) -> NDArray[np.int32]:  # [tokens]
        """What the language loss trains on."""
        return self.token_ids[: -self._held_out_tokens]

    @property
    def held_out(self) -> NDArray[np.int32]:  # [tokens]
        """What it does not: the end of the text, because random passages share their sentences with the rest."""
        return self.token_ids[-self._held_out_tokens :]

    @property
    def _held_out_tokens(self) -> int:
        return max(2, round(HELD_OUT_SHARE * len(self.token_ids)))  # fewer than two predict nothing


class LanguageBatches:
    """Random contiguous blocks of a tokenised text, uniform over all places a block can start at.

    `state` is that of the generator: a sampler given it back draws what the first would have drawn next.

    Args:
        token_ids: int [tokens].
        batch_size: blocks per draw.
        length: tokens per block.
        generator: drawn from by nobody else, or the order of draws decides what comes.

    Raises:
        DatasetError: the text is shorter than one block.
    """

    def __init__(
        self,
        token_ids: NDArray[np.integer[Any]],  # [tokens]
        *,
        batch_size: int,
        length: int,
        generator: np.random.Generator,
    ) -> None:
        if len(token_ids) < length:
            raise DatasetError(f"the text has {len(token_ids)} tokens, a block takes {length}")
        self._token_ids = token_ids
        self._batch_size = batch_size
        self._offsets = np.arange(length)
        self._generator = generator

    def draw(self) -> NDArray[np.int64]:
        """The next batch, int64 [batch_size, length]."""
        last_start = len(self._token_ids) - len(self._offsets)
        starts = self._generator.integers(0, last_start, size=self._batch_size, endpoint=True)
        blocks = self._token_ids[starts[:, None] + self._offsets]
        return cast(NDArray[np.int64], blocks.astype(np.int64))

    @property
    def state(self) -> Mapping[str, Any]:
        """The generator's state: strings and integers only, so that JSON holds it."""
        return self._generator.bit_generator.state

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        self._generator.bit_generator.state = state


def load_corpus(paths: Sequence[Path], tokenizer: PreTrainedTokenizerBase) -> Corpus:
    """The text of `paths` in the tokens of `tokenizer`; without paths, Python's own documentation topics.

    Raises:
        DatasetError: a file is missing, unreadable or of another kind, or there is no text in any of them.
    """
    if paths:
        files = text_files(paths)
        return Corpus(tuple(file.name for file in files), tokenize(read_documents(files), tokenizer))
    return Corpus((python_topics_name(),), tokenize(python_topics(), tokenizer))


def tokenize(documents: Iterable[str], tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int32]:
    """All documents in turn, int32 [tokens], each followed by the end-of-text token if there is one.

    Document by document, because an encoding takes many times the memory of its tokens.
    """
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    pieces = [
        # verbose=False: a document longer than the model's context is what blocks are cut from.
        np.asarray(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] + end, np.int32)
        for text in documents
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, np.int32)


def text_files(paths: Sequence[Path]) -> list[Path]:
    """The files that `paths` mean, in order; a folder stands for the text files in it, sorted by name.

    Raises:
        DatasetError: a path does not exist, is no text file by its suffix, or a folder without any.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += _files_of(path)
        elif not path.is_file():
            raise DatasetError(f"text file {path} does not exist")
        elif not path.name.endswith(SUFFIXES):
            raise DatasetError(f"text file {path} is none of {', '.join(SUFFIXES)}")
        else:
            files.append(path)
    return files


def read_documents(files: Sequence[Path]) -> Iterator[str]:
    """The documents of `files`, stripped, empty ones left out.

    Raises:
        DatasetError: a file cannot be read, or holds nothing but white space.
    """
    for file in files:
        count = 0
        try:
            with closing(_open(file)) as stream:
                for document in _split(stream):
                    count += 1
                    yield document
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
            raise DatasetError(f"text file {file} cannot be read: {error}") from error
        if count == 0:
            raise DatasetError(f"text file {file} is empty: nothing but white space in it")


def python_topics() -> list[str]:
    """English prose about the language that every full Python installation carries: about half a megabyte.

    Raises:
        DatasetError: this Python was installed without its documentation topics.
    """
    try:
        topics: Mapping[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError as error:
        raise DatasetError("this Python has no pydoc_data.topics to read text from; name a text file") from error
    return [topics[name].strip() for name in sorted(topics)]


def python_topics_name() -> str:
    """Name of the built-in text; it changes a little with every version of Python."""
    return f"Python {platform.python_version()} documentation topics"


def _files_of(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.name.endswith(SUFFIXES))
    if not files:
        raise DatasetError(f"folder {folder} holds no {', '.join(SUFFIXES)} file")
    return files


def _open(file: Path) -> IO[str]:
    if file.suffix == ".xz":
        return lzma.open(file, "rt", encoding="utf-8")
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8")
    return file.open(encoding="utf-8")


def _split(stream: IO[str]) -> Iterator[str]:
    """Documents as they complete, so that a file of many is never held whole."""
    rest = ""
    while chunk := stream.read(_CHUNK_CHARACTERS):
        *complete, rest = (rest + chunk).split(END_OF_TEXT)
        yield from (document.strip() for document in complete if document.strip())
    if rest.strip():
        yield rest.strip()
