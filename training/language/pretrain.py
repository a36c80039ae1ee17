"""Pretraining: a small language model of GPT-2's architecture, with its own tokenizer, made from text."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from lamo.errors import ConfigError
from training.interruption import Interrupted
from training.language.corpus import (
    Corpus,
    LanguageBatches,
    python_topics,
    python_topics_name,
    read_documents,
    text_files,
    tokenize,
)
from training.language.held_out import (
    HeldOutText,
    TextLoss,
    held_out_text,
    mean_loss,
    next_token_loss,
    split_documents,
)
from training.language.pretrain_card import PretrainResult, write_card
from training.language.pretrain_config import PretrainConfig, config_from
from training.language.tokenizer import train_tokenizer


def pretrain(config: PretrainConfig) -> PretrainResult:
    """Makes a tokenizer and a language model from text and writes both, with a card, to `config.out`.

    An interruption (Ctrl-C) ends training early: what has been learned until then is saved and reported.

    Raises:
        ConfigError: the vocabulary is too small, the folder cannot be made, the device is not there, or the
            learning rate is so high that the loss overflows.
        DatasetError: a text is missing, unreadable or shorter than one block.
    """
    _refuse_early(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return _prepare(config).run()


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
    model.eval()  # type: ignore[no-untyped-call]
    return model


def learning_rate_at(config: PretrainConfig, update: int, progress: float) -> float:
    """The learning rate after `update` updates; `progress` is the share of the schedule done."""
    warmth = min(1.0, (update + 1) / max(1, config.warm_up))
    return config.learning_rate * warmth * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def use_fused_gelu(model: GPT2LMHeadModel) -> None:
    """Replaces the activation by torch's one-kernel form of the same function, much faster on a CPU."""
    for block in model.transformer.h:
        block.mlp.act = nn.GELU(approximate="tanh")  # type: ignore[union-attr]


class _Pretraining:
    """One run from random weights to the saved model."""

    def __init__(
        self,
        config: PretrainConfig,
        model: GPT2LMHeadModel,
        tokenizer: PreTrainedTokenizerBase,
        corpus: Corpus,
        texts: Sequence[HeldOutText],
    ) -> None:
        self._config = config
        self._model = model
        self._tokenizer = tokenizer
        self._corpus = corpus
        self._texts = texts
        self._updates = 0

    def run(self) -> PretrainResult:
        """Trains until the schedule ends or the user interrupts; whatever stands then is saved."""
        self._model.to(torch.device(self._config.device))  # type: ignore[arg-type]
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
        config = self._config
        optimizer = _optimizer(self._model, config.weight_decay)
        batches = LanguageBatches(
            self._corpus.token_ids,
            batch_size=config.batch_size,
            length=config.context,
            generator=np.random.default_rng([config.seed, 1]),
        )
        saved = started
        while (progress := self._progress(started)) < 1:
            rate = learning_rate_at(config, self._updates, progress)
            loss = _update(self._model, optimizer, batches.draw(), rate)
            self._updates += 1
            bar.update()
            if self._updates % 10 == 0:
                bar.set_postfix(loss=f"{self._finite(loss):.3f}", done=f"{progress:.1%}")
            if time.monotonic() - saved > 60 * config.save_minutes:
                held_out = self._save(untrained, started).texts[0].trained
                tqdm.write(f"saved after {self._updates} updates, held-out loss {held_out:.3f} nats per token")
                saved = time.monotonic()

    def _finite(self, loss: Tensor) -> float:
        value = float(loss)
        if not math.isfinite(value):
            raise ConfigError(
                f"the loss is {value} after {self._updates} updates: "
                f"learning_rate {self._config.learning_rate} is too high"
            )
        return value

    def _progress(self, started: float) -> float:
        """Share of the schedule that is done; of two ends, the nearer counts."""
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
        self._model.save_pretrained(config.out)
        self._tokenizer.save_pretrained(config.out)
        write_card(result, config)
        return result


def _refuse_early(config: PretrainConfig) -> None:
    text_files([*config.text, *config.also_evaluate])
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {config.device}, torch finds no such device here")
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {config.out} cannot be made: {error}") from error


def _prepare(config: PretrainConfig) -> _Pretraining:
    names, documents = _read(config.text)
    kept, held_out = split_documents(documents, config.held_out_share, np.random.default_rng(config.seed))
    tokenizer = train_tokenizer(kept, vocab_size=config.vocab_size, context=config.context)
    corpus = Corpus(names, tokenize(kept, tokenizer))
    texts = [held_out_text("held-out documents", held_out, tokenizer, config.context)]
    for path in config.also_evaluate:
        also = list(read_documents(text_files([path])))
        texts.append(held_out_text(path.name, also, tokenizer, config.context))
    return _Pretraining(config, build_model(config, tokenizer), tokenizer, corpus, texts)


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
    model: GPT2LMHeadModel,
    optimizer: torch.optim.Optimizer,
    batch: NDArray[np.int64],  # [batch, length]
    learning_rate: float,
) -> Tensor:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss = next_token_loss(model, batch)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.detach()


def run(arguments: argparse.Namespace) -> None:
    """`lamo-train pretrain`: pretrains as parsed options say and shows the card.

    Raises:
        Interrupted: a signal came; what had been learned is saved.
    """
    disable_progress_bar()  # type: ignore[no-untyped-call]  # save_pretrained's, in the middle of ours
    result = pretrain(config_from(arguments))
    sys.stdout.write((result.out / "README.md").read_text(encoding="utf-8"))
    if not result.finished:
        raise Interrupted(f"interrupted after {result.updates} updates; what was learned is saved in {result.out}")
