"""PretrainConfig: what decides a pretrained language model, as a value and as command-line options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError


@dataclass(frozen=True)
class PretrainConfig:
    """What decides a pretrained language model; written into its card.

    Attributes:
        text: text files or folders of them; none for Python's own documentation topics.
        out: folder the model is written to, in the Hugging Face layout.
        layers: transformer blocks.
        width: size of the residual stream; a policy on this trunk has this hidden size.
        heads: attention heads per block; must divide `width`.
        vocab_size: tokens of the byte-level BPE; more of them see further but cost `width` parameters each.
        context: tokens the model sees, in training and as its `n_positions`.
        updates: optimizer steps after which to stop; the same seed then gives the same weights.
        minutes: wall-clock time after which to stop, if that comes first.
        batch_size: blocks of `context` tokens per update.
        learning_rate: peak of the schedule: linear warm-up, then a cosine down to zero at the end.
        warm_up: updates until the peak.
        weight_decay: AdamW's, on matrices only.
        held_out_share: share of the documents kept out of training and of the tokenizer's.
        also_evaluate: further texts, only for reporting the loss on them.
        origins: sentences on where the texts come from and under what licence, for the card.
        save_minutes: wall-clock time between saves, so that an interruption loses no more than that.
        seed: of the initial weights, the split and the order of blocks.
        threads: CPU threads of torch; none leaves torch's own choice.
        device: where to train: `cpu`, `cuda`.
    """

    text: tuple[Path, ...]
    out: Path
    layers: int = 4
    width: int = 128
    heads: int = 4
    vocab_size: int = 1024
    context: int = 256
    updates: int | None = None
    minutes: float | None = None
    batch_size: int = 8
    learning_rate: float = 3e-3
    warm_up: int = 100
    weight_decay: float = 0.1
    held_out_share: float = 0.02
    also_evaluate: tuple[Path, ...] = ()
    origins: tuple[str, ...] = ()
    save_minutes: float = 5.0
    seed: int = 0
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.updates is None and self.minutes is None:
            raise ConfigError("pretraining needs an end: a number of updates, of minutes, or both")
        for name in (
            "layers",
            "width",
            "heads",
            "context",
            "updates",
            "minutes",
            "batch_size",
            "learning_rate",
            "threads",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}, it must be above 0")
        for name in ("warm_up", "weight_decay", "seed"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, it must be at least 0")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} cannot be divided among {self.heads} heads")
        if not 0 < self.held_out_share < 1:
            raise ConfigError(f"held_out_share is {self.held_out_share}, it must lie between 0 and 1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one option per field of `PretrainConfig`, with its default."""
    _add_files(parser)
    for option, kind, text in (
        ("layers", int, "transformer blocks"),
        ("width", int, "size of the residual stream"),
        ("heads", int, "attention heads"),
        ("vocab-size", int, "tokens of the byte-level BPE"),
        ("context", int, "tokens the model sees"),
        ("updates", int, "stop after this many updates; with a seed, repeatable to the bit on a CPU"),
        ("minutes", float, "stop after this much time, if that comes first"),
        ("batch-size", int, "blocks of context per update"),
        ("learning-rate", float, "peak of the schedule"),
        ("warm-up", int, "updates until the peak"),
        ("weight-decay", float, "on matrices only"),
        ("held-out-share", float, "share of the documents held out"),
        ("save-minutes", float, "time between saves"),
        ("seed", int, "of the weights, the split and the order of blocks"),
        ("threads", int, "CPU threads"),
        ("device", str, "where to train: cpu or cuda"),
    ):
        default = getattr(PretrainConfig, option.replace("-", "_"))
        parser.add_argument(f"--{option}", type=kind, default=default, help=f"{text} (default: {default})")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--text",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help=".txt, .txt.xz or .txt.gz files or folders of them, documents separated by <|endoftext|> "
        "(default: Python's own documentation topics)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the model")
    parser.add_argument(
        "--also-evaluate",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="texts to report the loss on",
    )
    parser.add_argument(
        "--origins", nargs="+", default=[], metavar="SENTENCE", help="origin and licence of the texts"
    )


def config_from(arguments: argparse.Namespace) -> PretrainConfig:
    """The config that parsed options describe.

    Raises:
        ConfigError: an option's value cannot be used.
    """
    values: dict[str, Any] = {field.name: getattr(arguments, field.name) for field in fields(PretrainConfig)}
    for name in ("text", "also_evaluate", "origins"):
        values[name] = tuple(values[name])
    return PretrainConfig(**values)
