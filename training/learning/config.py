"""TrainConfig: everything that decides a training run; saved in the run's folder before the first update."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lamo.errors import ConfigError
from training.learning.algorithms import ALGORITHMS, NO_LM, WITHOUT_LM, Algorithm
from training.tasks.presets import TASK_FIELDS, Preset, settings
from training.tasks.task import Task

FORMAT_VERSION = 2
"""Version of a run's `config.json`. Readers refuse a version they do not know."""

SEED_LM = "seed"
"""Name of the small language model that ships with this package."""

Adaptation = Literal["lora", "full", "frozen"]

Precision = Literal["float32", "bf16", "fp16"]

ABLATIONS = (
    *("random_init", "adaptation", "embeddings", "context_length", "delayed_reward", "language_loss_weight"),
    *("lora_rank", "lora_alpha", "lora_learning_rate"),
)
"""Settings that make another arm of an algorithm: runs that differ in them are never averaged by mistake."""

_CHOICES = {"preset": Preset, "algorithm": Algorithm, "adaptation": Adaptation, "precision": Precision}


@dataclass(frozen=True)
class TrainConfig:
    """What decides a training run. Defaults are the paper's (Shi et al., ICLR 2024) on its MuJoCo tasks.

    Attributes:
        task: what is to be done; its own settings (`training.tasks.task`) count, whatever its file says later.
        dataset: what `training.data.sources` reads.
        sample_ratio: share of the trajectories that is used; drawn with `seed`, the indices are saved.
        indices: a file that names the trajectories to use instead; scores then say which share these are.
        hold_out: share of the data set's trajectories that is not trained on, to see overfitting by; first those
            that are not used anyway (`training.learning.offline_data`).
        delayed_reward: all reward of an episode at its last step; the return-to-go then stays as it was asked for.
        algorithm: LaMo, or a control that differs from it in several settings (`training.learning.algorithms`).
        label: name of the arm in scores; `of` makes it of the algorithm and the `ABLATIONS` asked for.
        preset: "paper" or "fixed" (`training.tasks.presets`); what it decides is in the other fields.
        lm: the language model whose blocks become the trunk: "seed" (ships with this package), a model on the
            hub, or a folder; "none" for a fresh trunk of the Decision Transformer's shape, which is what the
            algorithm "dt" always has.
        random_init: the trunk keeps the language model's shape but gets random weights, whether or not they
            train: the control for what pretraining is worth.
        adaptation: what trains in the trunk: "lora", with the biases of the adapted maps; everything ("full");
            nothing ("frozen").
        text: text files or folders for the language loss; none for Python's own documentation topics.
        language_loss_weight: factor of the language loss; at 0 no text is trained on.
        language_positions: add GPT-2's position embedding to language tokens, as it was pretrained.
        hidden: widths of the hidden layers of behavior cloning.
        batch_size: subtrajectories per update.
        updates: optimizer steps in all.
        learning_rate: after the warm-up, constant.
        lora_learning_rate: of LoRA and the biases it trains; None for `learning_rate`.
        weight_decay: AdamW's, on everything that trains.
        warm_up: updates over which the learning rate rises linearly.
        gradient_clip: largest global norm of the gradient.
        adam_epsilon: added to AdamW's denominator.
        lora_rank, lora_alpha, lora_dropout: size, scale (alpha / rank) and dropout of LoRA.
        dropout: GPT-2's, in the trunk.
        eval_every: updates between evaluations; 0 evaluates only at the end. Never changes what is learned.
        eval_episodes: episodes per target return and hop; 0 never evaluates.
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

    task: Task
    dataset: str
    sample_ratio: float = 1.0
    indices: Path | None = None
    hold_out: float = 0.05
    delayed_reward: bool = False
    algorithm: Algorithm = "lamo"
    label: str = ""
    preset: Preset = "fixed"
    lm: str = SEED_LM
    random_init: bool = False
    adaptation: Adaptation = "lora"
    text: tuple[Path, ...] = ()
    language_loss_weight: float = 0.0
    language_positions: bool = True
    hidden: tuple[int, ...] = (256, 256)
    batch_size: int = 64
    updates: int = 100_000
    learning_rate: float = 1e-4
    lora_learning_rate: float | None = None
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
        sizes = ("batch_size", "updates", "accumulate", "lora_rank", "lora_alpha", "save_every", "keep")
        for name in (*sizes, "gradient_clip", "learning_rate"):
            _check(name, getattr(self, name), "above 0", getattr(self, name) > 0)
        for name in ("language_loss_weight", "weight_decay", "warm_up", "eval_every", "eval_episodes", "seed"):
            value = getattr(self, name)
            _check(name, value, "finite and at least 0", value >= 0 and math.isfinite(value))
        for name in ("dropout", "lora_dropout", "hold_out"):
            _check(name, getattr(self, name), "in [0, 1)", 0 <= getattr(self, name) < 1)
        for name, kinds in _CHOICES.items():
            value, known = getattr(self, name), get_args(kinds)
            _check(name, value, f"one of {', '.join(known)}", value in known)
        for name in ("threads", "lora_learning_rate"):
            value = getattr(self, name)
            _check(name, value, "above 0", value is None or value > 0)
        ratio = self.sample_ratio
        _check("sample_ratio", ratio, "in (0, 1], and 1 where indices are given",
               0 < ratio <= 1 and (ratio == 1 or self.indices is None))  # fmt: skip
        longest = self.task.context_length
        inside = all(1 <= hop <= longest for hop in self.hops)
        _check("hops", self.hops, f"one or more of 1..{longest}", bool(self.hops) and inside)
        _check("hidden", self.hidden, "one or more widths", bool(self.hidden) and min(self.hidden) > 0)

    @classmethod
    def of(cls, task: str, **given: Any) -> TrainConfig:
        """The config of a run on a task: defaults, then task and preset, then algorithm, then what is given.

        Args:
            task: name or file of a task (`training.tasks.task`).
            given: fields of this class and of the task.

        Raises:
            ConfigError: a field is unknown, or a value cannot be used.
        """
        preset, algorithm = given.get("preset", "fixed"), given.get("algorithm", "lamo")
        _check("preset", preset, f"one of {', '.join(get_args(Preset))}", preset in get_args(Preset))
        _check("algorithm", algorithm, f"one of {', '.join(ALGORITHMS)}", algorithm in ALGORITHMS)
        chosen, decided = settings(task, preset)
        decided = {"dataset": chosen.dataset, **decided, **ALGORITHMS[algorithm]}
        merged = {**decided, **given}

        def usual(name: str) -> object:
            default = getattr(chosen, name) if name in TASK_FIELDS else getattr(cls, name)
            return decided.get(name, default)

        if algorithm in WITHOUT_LM:
            merged["lm"] = NO_LM
        if algorithm == "bc":  # one timestep leaves nothing to hop over
            merged["hops"] = (1,)
        if not merged.get("label"):
            asked = [name for name in ABLATIONS if name in given and given[name] != usual(name)]
            merged["label"] = " ".join([algorithm, *(_shown(name, given[name]) for name in asked)])
        of_task = {name: value for name, value in merged.items() if name in TASK_FIELDS - {"dataset"}}
        of_run = {name: value for name, value in merged.items() if name not in of_task}
        if unknown := sorted(of_run.keys() - {field.name for field in dataclasses.fields(cls)}):
            raise ConfigError(f"task {task!r} sets {unknown[0]}, which is no setting of a task or a training run")
        if of_run["dataset"] is None:
            raise ConfigError(f"task {task!r} names no data; name it with --dataset")
        try:
            return cls(task=dataclasses.replace(chosen, **of_task), **_with_paths(of_run))
        except TypeError as error:
            raise ConfigError(f"a setting of task {task!r} has the wrong type: {error}") from error

    @property
    def arm(self) -> str:
        """The name of this arm in scores."""
        return self.label or self.algorithm

    def to_json(self) -> dict[str, Any]:
        """This config as JSON values; `from_json` is its inverse."""
        values = dataclasses.asdict(self)
        values["indices"] = None if self.indices is None else str(self.indices)
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
            frozen["task"] = Task.from_json(frozen["task"])
            return cls(**_with_paths(frozen))
        except (KeyError, TypeError) as error:
            raise ConfigError(f"a field is missing or has the wrong type: {error}") from error


def _shown(name: str, value: object) -> str:
    return name if value is True else f"{name}={value}"


def _with_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with files as paths, which TOML and JSON write as text; one file may stand for a list."""
    indices, text = values.get("indices"), values.get("text", ())
    texts = (text,) if isinstance(text, str | Path) else text
    return {
        **values,
        "indices": None if indices is None else Path(indices),
        "text": tuple(Path(path) for path in texts),
    }


def _check(name: str, value: object, expected: str, right: bool) -> None:
    if not right:
        raise ConfigError(f"{name} is {value}, it must be {expected}")
