"""Pretraining: a small language model of GPT-2's architecture, with its own tokenizer, made from text."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from lamo.errors import DatasetError, InputError
from training.corpus import (
    Corpus,
    LanguageBatches,
    python_topics,
    python_topics_name,
    read_documents,
    text_files,
    tokenize,
)
from training.pretrain_card import PretrainResult, TextLoss, write_card
from training.pretrain_config import PretrainConfig, add_arguments, config_from
from training.tokenizer import train_tokenizer

EVALUATION_BLOCKS = 256
"""At most so many blocks of a text are scored, evenly spread: enough for two digits of the loss."""


def pretrain(config: PretrainConfig) -> PretrainResult:
    """Makes a tokenizer and a language model from text and writes both, with a card, to `config.out`.

    An interruption (Ctrl-C) ends training early: what has been learned until then is saved and reported.

    Raises:
        ConfigError: the vocabulary is too small.
        DatasetError: a text is missing, unreadable or shorter than one block.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    names, documents = _read(config.text)
    kept, held_out = split_documents(documents, config.held_out_share, np.random.default_rng(config.seed))
    tokenizer = train_tokenizer(kept, vocab_size=config.vocab_size, context=config.context)
    corpus = Corpus(names, tokenize(iter(kept), tokenizer))
    texts = [_EvaluationText.read("held-out documents", held_out, tokenizer, config.context)]
    for path in config.also_evaluate:
        also = list(read_documents(text_files([path])))
        texts.append(_EvaluationText.read(path.name, also, tokenizer, config.context))
    return _Pretraining(config, build_model(config, tokenizer), tokenizer, corpus, texts).run()


def build_model(config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> GPT2LMHeadModel:
    """A GPT-2 with random weights that depend on the seed alone, on the CPU."""
    architecture = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=config.context,
        n_embd=config.width,
        n_layer=config.layers,
        n_head=config.heads,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = GPT2LMHeadModel(architecture)
    # Evaluation mode throughout: a model this small that sees its text about once needs no dropout, while
    # the saved config keeps GPT-2's 0.1 for whoever fine-tunes.
    model.eval()
    return model


def split_documents(
    documents: Sequence[str], held_out_share: float, generator: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Documents to train on and documents held out; of a lone document its end.

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


def learning_rate_at(config: PretrainConfig, update: int, progress: float) -> float:
    """The learning rate after `update` updates; `progress` is the share of the schedule done."""
    warmth = min(1.0, (update + 1) / max(1, config.warm_up))
    return config.learning_rate * warmth * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@torch.no_grad()
def mean_loss(model: GPT2LMHeadModel, blocks: NDArray[np.int32]) -> float:  # blocks [count, length]
    """Mean next-token cross-entropy over all blocks, in nats per token."""
    parts = np.array_split(blocks, math.ceil(len(blocks) / 16))
    losses = [float(_loss(model, part)) * len(part) for part in parts]
    return sum(losses) / len(blocks)


@dataclass(frozen=True)
class _EvaluationText:
    name: str
    blocks: NDArray[np.int32]  # [count, context]
    bytes_per_token: float

    @classmethod
    def read(
        cls, name: str, documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, context: int
    ) -> _EvaluationText:
        token_ids = tokenize(iter(documents), tokenizer)
        count = len(token_ids) // context
        if count == 0:
            raise DatasetError(f"{name}: {len(token_ids)} tokens to evaluate on, one block takes {context}")
        chosen = np.unique(np.linspace(0, count - 1, min(count, EVALUATION_BLOCKS)).astype(int))
        size = sum(len(text.encode()) for text in documents)
        return cls(name, token_ids[: count * context].reshape(count, context)[chosen], size / len(token_ids))


class _Pretraining:
    """One run from random weights to the saved model."""

    def __init__(
        self,
        config: PretrainConfig,
        model: GPT2LMHeadModel,
        tokenizer: PreTrainedTokenizerBase,
        corpus: Corpus,
        texts: Sequence[_EvaluationText],
    ) -> None:
        self._config = config
        self._model = model
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._texts = texts
        self._updates = 0

    def run(self) -> PretrainResult:
        """Trains until the schedule ends or the user interrupts; whatever stands then is saved."""
        self._model.to(self._config.device)
        use_fused_gelu(self._model)
        untrained = self._losses()
        started = time.monotonic()
        try:
            with tqdm(total=self._config.updates, desc="pretraining", unit="update") as bar:
                self._train(untrained, started, bar)
        except KeyboardInterrupt:
            tqdm.write(f"interrupted after {self._updates} updates; saving what has been learned")
        return self._save(untrained, started)

    def _train(self, untrained: Sequence[float], started: float, bar: tqdm[NoReturn]) -> None:
        sampler = LanguageBatches(
            self._corpus.token_ids,
            batch_size=self._config.batch_size,
            length=self._config.context,
            generator=np.random.default_rng([self._config.seed, 1]),
        )
        optimizer = _optimizer(self._model, self._config.weight_decay)
        saved = started
        while (progress := self._progress(started)) < 1:
            rate = learning_rate_at(self._config, self._updates, progress)
            loss = _update(self._model, optimizer, sampler.draw(), rate)
            self._updates += 1
            bar.update()
            if self._updates % 10 == 0:
                bar.set_postfix(loss=f"{float(loss):.3f}", done=f"{progress:.1%}")
            if time.monotonic() - saved > 60 * self._config.save_minutes:
                held_out = self._save(untrained, started).texts[0]
                tqdm.write(
                    f"update {self._updates}: held-out loss {held_out.trained:.3f} nats per token, saved"
                )
                saved = time.monotonic()

    def _progress(self, started: float) -> float:
        config = self._config
        seconds = time.monotonic() - started
        by_updates = 0.0 if config.updates is None else self._updates / config.updates
        by_time = 0.0 if config.minutes is None else seconds / (60 * config.minutes)
        return max(by_updates, by_time)

    def _losses(self) -> list[float]:
        return [mean_loss(self._model, text.blocks) for text in self._texts]

    def _save(self, untrained: Sequence[float], started: float) -> PretrainResult:
        config = self._config
        result = PretrainResult(
            out=config.out,
            parameters=self._model.num_parameters(),
            corpus=self._corpus.identity,
            texts=tuple(
                TextLoss(text.name, text.blocks.size, text.bytes_per_token, before, after)
                for text, before, after in zip(self._texts, untrained, self._losses(), strict=True)
            ),
            updates=self._updates,
            tokens_seen=self._updates * config.batch_size * config.context,
            seconds=time.monotonic() - started,
            finished=self._progress(started) >= 1,
        )
        config.out.mkdir(parents=True, exist_ok=True)
        self._model.save_pretrained(config.out)
        self._tokenizer.save_pretrained(config.out)
        write_card(result, config)
        return result


def use_fused_gelu(model: GPT2LMHeadModel) -> None:
    """Replaces the activation by torch's one-kernel form of the same function, much faster on a CPU."""
    for block in model.transformer.h:
        block.mlp.act = nn.GELU(approximate="tanh")


def _read(paths: Sequence[Path]) -> tuple[tuple[str, ...], list[str]]:
    if not paths:
        return (python_topics_name(),), python_topics()
    files = text_files(paths)
    return tuple(file.name for file in files), list(read_documents(files))


def _optimizer(model: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def _update(
    model: GPT2LMHeadModel, optimizer: torch.optim.Optimizer, batch: NDArray[np.int64], learning_rate: float
) -> Tensor:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss = _loss(model, batch)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def _loss(model: GPT2LMHeadModel, blocks: NDArray[np.integer]) -> Tensor:  # blocks [batch, length]
    token_ids = torch.from_numpy(blocks.astype(np.int64)).to(model.device)
    logits = model(input_ids=token_ids, use_cache=False).logits  # [batch, length, vocabulary]
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), token_ids[:, 1:].flatten())


def run(arguments: argparse.Namespace) -> PretrainResult:
    """Pretrains as parsed options say."""
    disable_progress_bar()  # the one of save_pretrained, in the middle of ours
    return pretrain(config_from(arguments))


def main() -> None:
    """`python -m training.pretrain`."""
    parser = argparse.ArgumentParser(prog="lamo-train pretrain", description=__doc__)
    add_arguments(parser)
    try:
        result = run(parser.parse_args())
    except InputError as error:
        sys.exit(f"lamo-train pretrain: {error}")
    sys.stdout.write((result.out / "README.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
