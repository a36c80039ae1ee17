"""The options of `lamo-train train`, and the TrainConfig they describe."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from lamo.config import Embedding
from lamo.errors import ConfigError
from training.learning.algorithms import ALGORITHMS
from training.learning.config import Adaptation, Precision, TrainConfig
from training.tasks.presets import Preset
from training.tasks.task import Rewards, task_names

CHANGEABLE = ("updates", "threads", "device", "accumulate", "gradient_checkpointing", "compile")
"""What may be given again when a run is resumed; everything else would make it another run."""

_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainConfig)}

TASK_OPTIONS = ("context_length", "embeddings", "target_returns", "return_scale", "rewards")
"""Settings of a task that a run may have otherwise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train` on its parser; those not given are left out of the result."""
    _add_run_options(parser)
    _add_what(_Adder(parser.add_argument_group("what is trained, on what")))
    _add_network(_Adder(parser.add_argument_group("the network and what trains in it")))
    _add_how(_Adder(parser.add_argument_group("how it is trained")))
    _add_watching(_Adder(parser.add_argument_group("what is written meanwhile")))


def _add_what(add: _Adder) -> None:
    add("task", str, f"one of {', '.join(task_names())}, or the path of a task's .toml")
    add("preset", str, "'paper' trains as the paper's code does", choices=get_args(Preset))
    add("dataset", str, "d4rl:..., minari:... or a file (default: the task's)", metavar="DATA")
    add("sample_ratio", float, "share of the trajectories that is used")
    add("indices", Path, "file that names the trajectories to use", metavar="FILE")
    add("hold_out", float, "share of the data not trained on, to see overfitting by (default: the preset's)")
    add("rewards", str, "'differences' where the data pays a running total", choices=get_args(Rewards))
    add.flag("delayed_reward", "all reward of an episode at its last step")
    add("return_scale", float, "divisor that brings returns-to-go near 1 (default: the task's)")
    add("context_length", int, "timesteps the policy sees (default: the task's)")
    add("target_returns", float, "raw returns to ask for (default: the task's)", nargs="+")


def _add_network(add: _Adder) -> None:
    add("algorithm", str, "LaMo or a control", choices=tuple(ALGORITHMS))
    add("label", str, "name of the arm in scores (default: the algorithm and the ablations asked for)")
    add("lm", str, "'seed' (ships with this package), a name on the hub such as gpt2, a folder, or 'none'")
    add.flag("random_init", "random weights in the trunk: the control for what pretraining is worth")
    add("adaptation", str, "what trains in the trunk: LoRA, everything or nothing", choices=get_args(Adaptation))
    add("embeddings", str, "maps into and out of the trunk (default: the task's)", choices=get_args(Embedding))
    add("hidden", int, "widths of behavior cloning's hidden layers", nargs="+")
    add("text", Path, "text for the language loss (default: Python's own documentation topics)", nargs="+")
    add("language_loss_weight", float, "factor of the language loss (default: the task's)")
    add("lora_rank", int, "size of LoRA's matrices")
    add("lora_alpha", int, "scale of LoRA, as alpha / rank")
    add("lora_dropout", float, "dropout on LoRA's input")
    add("dropout", float, "GPT-2's dropout")


def _add_how(add: _Adder) -> None:
    add("updates", int, "optimizer steps in all")
    add("batch_size", int, "subtrajectories per update")
    add("learning_rate", float, "after the warm-up, constant")
    add("lora_learning_rate", float, "of LoRA (default: the learning rate)")
    add("warm_up", int, "updates until then")
    add("weight_decay", float, "AdamW's")
    add("gradient_clip", float, "largest norm of the gradient")
    add("seed", int, "of everything that is drawn")
    add("device", str, "cpu or cuda")
    add("threads", int, "CPU threads (default: torch's choice)")
    add("precision", str, "what the network computes in", choices=get_args(Precision))
    add("accumulate", int, "parts that a process computes its share of a batch in, for less memory")
    add(
        "gradient_checkpointing",
        _yes_or_no,
        "compute blocks again on the way back, for less memory (default: from gpt2-medium's size on)",
        metavar="yes|no",
    )
    add.flag("compile", "torch.compile the network")


def _add_watching(add: _Adder) -> None:
    add("eval_every", int, "updates between evaluations; 0: at the end only")
    add("eval_episodes", int, "episodes per target return; 0: never")
    add("hops", int, "window hops to evaluate; the first is exported", nargs="+")
    add("save_every", int, "updates between snapshots")
    add("keep", int, "snapshots kept")


def config_from(arguments: argparse.Namespace) -> TrainConfig:
    """The config of a new run.

    Raises:
        ConfigError: no task was given, or a value cannot be used.
    """
    given = _given(arguments)
    if "task" not in given:
        raise ConfigError("--task is needed (or --resume RUN, to go on with a run)")
    return TrainConfig.of(**given)


def resumed_config(arguments: argparse.Namespace, begun: TrainConfig) -> TrainConfig:
    """The config of a run that goes on.

    Raises:
        ConfigError: an option was given that would make it another run.
    """
    given = _given(arguments)
    for name in given:
        if name not in CHANGEABLE:
            raise ConfigError(f"{_option(name)} cannot be changed when a run is resumed")
    return dataclasses.replace(begun, **given)


class _Adder:
    """Adds options named like the fields of TrainConfig, whose defaults they show."""

    def __init__(self, group: Any) -> None:
        self._group = group

    def __call__(self, name: str, kind: Callable[[str], Any], text: str, **more: Any) -> None:
        default = None if "(default" in text else _DEFAULTS.get(name)
        if default not in (dataclasses.MISSING, None, "", ()):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            text = f"{text} (default {shown})"
        self._group.add_argument(_option(name), dest=name, type=kind, default=argparse.SUPPRESS, help=text, **more)

    def flag(self, name: str, text: str) -> None:
        self._group.add_argument(
            _option(name), dest=name, action="store_true", default=argparse.SUPPRESS, help=text
        )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="the run's folder (default runs/<task>-<arm>-<seed>)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with the run in this folder")
    parser.add_argument(
        "--wandb", metavar="PROJECT", help="also log to this Weights & Biases project (needs the package wandb)"
    )


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    values = {name: value for name, value in vars(arguments).items() if name in _DEFAULTS or name in TASK_OPTIONS}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _yes_or_no(word: str) -> bool:
    try:
        return {"yes": True, "no": False}[word]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{word!r} is neither yes nor no") from None


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
