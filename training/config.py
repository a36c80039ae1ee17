"""TrainConfig: everything that decides a training run; saved in the run's folder before the first update."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lamo.errors import ConfigError
from training.tasks import get_task

FORMAT_VERSION = 1
"""Version of a run's `config.json`. Readers refuse a version they do not know."""

SEED_LM = "seed"
"""Name of the small language model that ships with this package."""

Preset = Literal["paper", "fixed"]

Precision = Literal["float32", "bf16", "fp16"]


@dataclass(frozen=True)
class TrainConfig:
    """What decides a training run. Defaults are the paper's (Shi et al., ICLR 2024) on its MuJoCo tasks.

    Attributes:
        task: sets environment, context length, return scale, embeddings and timestep table (`training.tasks`).
        dataset: the recorded trajectories, HDF5 or NumPy archive.
        sample_ratio: share of the trajectories that is trained on; drawn with `seed`, the indices are saved.
        lm: the language model whose blocks become the trunk: "seed" (ships with this package), a model on the
            hub, or a folder.
        random_init: the trunk keeps the language model's shape but gets random weights, frozen all the same:
            the control for what pretraining is worth.
        text: text files or folders for the language loss; none for Python's own documentation topics.
        language_loss_weight: factor of the language loss; at 0 no text is read.
        preset: "fixed" adds GPT-2's position embedding to language tokens, as it was pretrained; "paper" does
            not, as the paper's code.
        batch_size: subtrajectories per update.
        updates: optimizer steps in all.
        learning_rate: after the warm-up, constant.
        weight_decay: AdamW's, on everything that trains.
        warm_up: updates over which the learning rate rises linearly.
        gradient_clip: largest global norm of the gradient.
        adam_epsilon: added to AdamW's denominator.
        lora_rank, lora_alpha, lora_dropout: size, scale (alpha / rank) and dropout of LoRA.
        dropout: GPT-2's, in the trunk.
        eval_every: updates between evaluations; 0 evaluates only at the end. Never changes what is learned.
        eval_episodes: episodes per target return and hop; 0 never evaluates.
        target_returns: raw; None for the task's.
        hops: each is evaluated; the first is what the checkpoint is exported with.
        seed: of weights, drawn trajectories, batches, text and episodes.
        device: where to train, "cpu" or "cuda".
        threads: CPU threads of torch; None leaves torch's choice. Other numbers give other rounding.
        precision: what the network computes in; weights, optimizer and losses are float32 all the same. "fp16"
            scales the loss, and skips an update whose gradients overflow.
        accumulate: parts that each process computes its share of a batch in, for less memory; the same gradients.
        gradient_checkpointing: compute each block of the trunk again on the way back, for less memory; None for
            trunks of `LARGE_TRUNK` parameters and more.
        compile: `torch.compile` the network: a minute at first, then faster updates on a GPU.
        save_every: updates between snapshots; there is always one at the end and when interrupted.
        keep: how many snapshots stay; older ones are removed.
    """

    task: str
    dataset: Path
    sample_ratio: float = 1.0
    lm: str = SEED_LM
    random_init: bool = False
    text: tuple[Path, ...] = ()
    language_loss_weight: float = 0.0
    preset: Preset = "fixed"
    batch_size: int = 64
    updates: int = 100_000
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    warm_up: int = 2500
    gradient_clip: float = 0.25
    adam_epsilon: float = 1e-6
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.1
    dropout: float = 0.1
    eval_every: int = 2500
    eval_episodes: int = 20
    target_returns: tuple[float, ...] | None = None
    hops: tuple[int, ...] = (1,)
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    precision: Precision = "float32"
    accumulate: int = 1
    gradient_checkpointing: bool | None = None
    compile: bool = False
    save_every: int = 2500
    keep: int = 1

    def __post_init__(self) -> None:
        task = get_task(self.task)
        sizes = ("batch_size", "updates", "accumulate", "lora_rank", "save_every", "keep")
        for name in (*sizes, "gradient_clip", "learning_rate"):
            _check(name, getattr(self, name), "above 0", getattr(self, name) > 0)
        for name in ("language_loss_weight", "weight_decay", "warm_up", "eval_every", "eval_episodes", "seed"):
            value = getattr(self, name)
            _check(name, value, "finite and at least 0", value >= 0 and math.isfinite(value))
        for name in ("dropout", "lora_dropout"):
            _check(name, getattr(self, name), "in [0, 1)", 0 <= getattr(self, name) < 1)
        for name, choices in (("preset", get_args(Preset)), ("precision", get_args(Precision))):
            _check(name, getattr(self, name), f"one of {', '.join(choices)}", getattr(self, name) in choices)
        inside = all(1 <= hop <= task.context_length for hop in self.hops)
        _check("hops", self.hops, f"one or more of 1..{task.context_length}", bool(self.hops) and inside)
        targets = self.targets
        _check("target_returns", targets, "one or more finite numbers", bool(targets) and _finite(targets))
        if self.threads is not None:
            _check("threads", self.threads, "above 0", self.threads > 0)

    @property
    def targets(self) -> tuple[float, ...]:
        """The raw target returns the policy is evaluated and exported with."""
        return get_task(self.task).target_returns if self.target_returns is None else self.target_returns

    def to_json(self) -> dict[str, Any]:
        """This config as JSON values; `from_json` is its inverse."""
        values = dataclasses.asdict(self)
        values["dataset"] = str(self.dataset)
        values["text"] = [str(path) for path in self.text]
        return {"format_version": FORMAT_VERSION, **values}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TrainConfig:
        """The config a run's `config.json` describes.

        Raises:
            ConfigError: an unknown version or field, or a value that cannot be used.
        """
        values = dict(document)
        version = values.pop("format_version", None)
        if version != FORMAT_VERSION:
            raise ConfigError(f"format_version is {version!r}, this version reads {FORMAT_VERSION}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(values.keys() - known):
            raise ConfigError(f"unknown field {unknown[0]}")
        frozen: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        try:
            frozen["dataset"] = Path(frozen["dataset"])
            frozen["text"] = tuple(Path(path) for path in frozen.get("text", ()))
            return cls(**frozen)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"a field is missing or has the wrong type: {error}") from error


def _finite(values: tuple[float, ...]) -> bool:
    return all(math.isfinite(value) for value in values)


def _check(name: str, value: object, expected: str, right: bool) -> None:
    if not right:
        raise ConfigError(f"{name} is {value}, it must be {expected}")
