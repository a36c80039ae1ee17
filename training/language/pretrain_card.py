"""The model card of a pretrained language model: what it is made of, how, and how well it predicts text."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

from training.language.corpus import CorpusIdentity
from training.language.held_out import TextLoss
from training.language.pretrain_config import PretrainConfig
from training.version import code_version


@dataclass(frozen=True)
class PretrainResult:
    """What a pretraining run made.

    Attributes:
        out: the folder it was written to.
        parameters: of the whole model; the output layer shares the token embedding and counts once.
        corpus: identity of the tokens trained on.
        texts: losses, the held-out documents first.
        updates: optimizer steps taken.
        tokens_seen: tokens in all batches together.
        seconds: wall-clock time of training.
        finished: False while the schedule has not come to its end, or was interrupted before.
    """

    out: Path
    parameters: int
    corpus: CorpusIdentity
    texts: tuple[TextLoss, ...]
    updates: int
    tokens_seen: int
    seconds: float
    finished: bool


def write_card(result: PretrainResult, config: PretrainConfig) -> None:
    """Writes `README.md` beside the model;"""
    text = card(result, config)
    (result.out / "README.md").write_text(text, encoding="utf-8")


def card(result: PretrainResult, config: PretrainConfig) -> str:
    """The card's Markdown."""
    passes = result.tokens_seen / result.corpus.tokens
    sections = [
        f"# A small GPT-2 of {result.parameters:,} parameters",
        f"{config.layers} layers, {config.width} wide, {config.heads} heads, "
        f"context {config.context}, and a byte-level BPE of its own; GPT-2's architecture, saved by "
        "`transformers`.\nIt is made to initialise small policies and to try things out, not to write text.",
        "## How well it predicts text",
        _loss_table(result.texts),
        "## What it is trained on",
        f"{', '.join(result.corpus.names)}: {result.corpus.tokens:,} tokens without the held-out documents, "
        f"SHA-256 of the tokens `{result.corpus.sha256}`.",
        *(f"- {origin}" for origin in config.origins),
        "## How it is trained",
        f"{result.updates:,} updates in {result.seconds / 60:.1f} minutes, {result.tokens_seen:,} tokens "
        f"({passes:.2f} passes), {'to the end of' if result.finished else 'stopped before the end of'} the "
        f"learning-rate schedule.\nOn {_machine(config)}; seed {config.seed}; {_versions()}.",
        f"```\n{command(config)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def command(config: PretrainConfig) -> str:
    """The command line that repeats the run, folders of the machine it ran on left out."""
    words = ["lamo-train", "pretrain"]
    for field in fields(config):
        value = getattr(config, field.name)
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if values:
            words.append("--" + field.name.replace("_", "-"))
            words += [_word(item) for item in values]
    return shlex.join(words)


def _word(value: object) -> str:
    return value.name if isinstance(value, Path) and value.is_absolute() else str(value)


def _loss_table(texts: Sequence[TextLoss]) -> str:
    rows = [
        "| text | tokens scored | untrained, nats/token | trained, nats/token | trained, bits/byte |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {text.name} | {text.tokens:,} | {text.untrained:.3f} | {text.trained:.3f} | {text.bits_per_byte:.3f} |"
        for text in texts
    ]
    return "\n".join(rows)


def _machine(config: PretrainConfig) -> str:
    threads = "threads as torch chose" if config.threads is None else f"threads: {config.threads}"
    return f"{config.device} ({platform.machine()}, {threads}), Python {platform.python_version()}"


def _versions() -> str:
    libraries = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers", "tokenizers"))
    return f"lamo-serving {code_version()}, {libraries}"
