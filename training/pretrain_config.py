"""PretrainConfig: what decides a pretrained language model, as a value and as command-line options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

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
    batch_size: int = 16
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
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} cannot be divided among {self.heads} heads")
        for name in (
            "layers",
            "width",
            "heads",
            "context",
            "updates",
            "minutes",
            "batch_size",
            "learning_rate",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}, it must be above 0")
        if not 0 < self.held_out_share < 1:
            raise ConfigError(f"held_out_share is {self.held_out_share}, it must lie between 0 and 1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds one option per field of `PretrainConfig`."""
    add = parser.add_argument
    add(
        "--text",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="text files (.txt, .txt.xz, .txt.gz) or folders of them; documents separated by <|endoftext|> "
        "(default: Python's own documentation topics)",
    )
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write the model to")
    add("--layers", type=int, default=4, help="transformer blocks (default %(default)s)")
    add("--width", type=int, default=128, help="size of the residual stream (default %(default)s)")
    add("--heads", type=int, default=4, help="attention heads (default %(default)s)")
    add("--vocab-size", type=int, default=1024, help="tokens of the byte-level BPE (default %(default)s)")
    add("--context", type=int, default=256, help="tokens the model sees (default %(default)s)")
    add("--updates", type=int, help="stop after this many updates; repeatable to the bit with a seed")
    add("--minutes", type=float, help="stop after this much time, if that comes first")
    add("--batch-size", type=int, default=16, help="blocks of context per update (default %(default)s)")
    add("--learning-rate", type=float, default=4e-3, help="peak of the schedule (default %(default)s)")
    add("--warm-up", type=int, default=100, help="updates until the peak (default %(default)s)")
    add("--weight-decay", type=float, default=0.1, help="on matrices only (default %(default)s)")
    add(
        "--held-out-share", type=float, default=0.02, help="share of documents held out (default %(default)s)"
    )
    add(
        "--also-evaluate",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="texts to report the loss on",
    )
    add(
        "--origins",
        nargs="+",
        default=[],
        metavar="SENTENCE",
        help="origin and licence of the texts, for the card",
    )
    add("--save-minutes", type=float, default=5.0, help="time between saves (default %(default)s)")
    add("--seed", type=int, default=0, help="of weights, split and order (default %(default)s)")
    add("--threads", type=int, help="CPU threads (default: torch's choice)")
    add("--device", default="cpu", help="where to train: cpu or cuda (default %(default)s)")


def config_from(arguments: argparse.Namespace) -> PretrainConfig:
    """The config that parsed options describe.

    Raises:
        ConfigError: an option's value cannot be used.
    """
    values = {field.name: getattr(arguments, field.name) for field in fields(PretrainConfig)}
    return PretrainConfig(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
