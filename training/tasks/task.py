"""A task: an environment, its data, and how a policy is asked in it; one TOML file each.

The paper's tasks ship in `training/tasks/`; anybody's own is a file of the same form. Beside the fields of `Task` a
file may hold tables of overrides, each of a task's or a training run's settings: `[training]` for every run,
`[paper]` and `[fixed]` for the preset of that name.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lamo.config import Embedding
from lamo.errors import ConfigError
from lamo.fields import build
from lamo.scores import ReferenceReturns

TASKS_FOLDER = Path(__file__).parent
OVERRIDES = ("training", "paper", "fixed")

Rewards = Literal["as recorded", "differences"]


@dataclass(frozen=True)
class Labels:
    """One text for every number of an observation and of an action: a name, or a unit."""

    observations: tuple[str, ...] | None = None
    actions: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Task:
    """What is to be done, and what decides how the paper trains and evaluates on it.

    Attributes:
        name: in commands, reports and scores; the file's name.
        dataset: what `training.data.sources` reads: `d4rl:...`, `minari:...` or a file; None if every run names
            its own.
        environment: Gymnasium name (`module:id` where it has to be imported); None for a robot without a
            simulator: such a task is trained and exported, not played. In the file: `env`.
        context_length: timesteps the policy sees.
        target_returns: raw returns the policy is asked for, highest first.
        return_scale: divisor that brings returns-to-go near 1.
        max_episode_length: steps after which an episode is truncated.
        timestep_table_size: rows of the timestep embedding; None for as many as an episode has steps.
        embeddings: "mlp" or "linear" maps into and out of the trunk.
        rewards: "as recorded", or "differences" where the data pays a running total at every step.
        reference_returns: raw returns that normalized scores 0 and 100 stand for, where they are known.
        step_seconds: how long a timestep lasts.
        names, units: of the numbers in observations and actions.
        action_low, action_high: bounds, one per number; needed where there is no environment to say them.
    """

    name: str
    context_length: int
    target_returns: tuple[float, ...]
    return_scale: float
    max_episode_length: int
    dataset: str | None = None
    environment: str | None = None
    timestep_table_size: int | None = None
    embeddings: Embedding = "mlp"
    rewards: Rewards = "as recorded"
    reference_returns: ReferenceReturns | None = None
    step_seconds: float | None = None
    names: Labels = Labels()
    units: Labels = Labels()
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("context_length", "max_episode_length", "timestep_rows"):
            value = getattr(self, name)
            self._check(name, value, "a whole number above 0", type(value) is int and value > 0)
        self._check("timestep_table_size", self.timestep_rows, f"at least {self.max_episode_length}, the longest "
                    "episode", self.timestep_rows >= self.max_episode_length)  # fmt: skip
        self._check("return_scale", self.return_scale, "a number above 0", 0 < self.return_scale < math.inf)
        targets = self.target_returns
        finite = isinstance(targets, tuple) and bool(targets) and all(map(_is_finite, targets))
        self._check("target_returns", targets, "one or more finite numbers", finite)
        for name, kinds in (("embeddings", Embedding), ("rewards", Rewards)):
            value, known = getattr(self, name), get_args(kinds)
            self._check(name, value, f"one of {', '.join(known)}", value in known)
        lasting = self.step_seconds is None or (_is_finite(self.step_seconds) and self.step_seconds > 0)
        self._check("step_seconds", self.step_seconds, "a number above 0", lasting)
        bounds = (self.action_low is None) == (self.action_high is None)
        self._check("action_low", self.action_low, "given together with action_high", bounds)
        for name in ("action_low", "action_high"):
            values = getattr(self, name)
            numbers = values is None or (
                isinstance(values, tuple) and bool(values) and all(map(_is_finite, values))
            )
            self._check(name, values, "a list of finite numbers", numbers)

    @property
    def timestep_rows(self) -> int:
        """Rows of the timestep embedding."""
        return self.max_episode_length if self.timestep_table_size is None else self.timestep_table_size

    def to_json(self) -> dict[str, Any]:
        """This task as JSON values; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """The task that a table describes, in a run's `config.json` or a task's file.

        Raises:
            ConfigError: a field is unknown, missing or cannot be used.
        """
        values = dict(document)
        for name, kind in (("reference_returns", ReferenceReturns), ("names", Labels), ("units", Labels)):
            if isinstance(values.get(name), Mapping):
                values[name] = build(kind, values[name], whole="the task", within=f"{name}.")
        targets = values.get("target_returns")
        if isinstance(targets, list | tuple) and all(isinstance(target, int | float) for target in targets):
            values["target_returns"] = tuple(map(float, targets))  # TOML's 76 and JSON's 76.0 are one target
        task: Task = build(cls, values, whole="the task")
        return task

    def _check(self, name: str, value: object, expected: str, right: bool) -> None:
        if not right:
            raise ConfigError(f"task {self.name!r}: {name} is {value}, it must be {expected}")


@dataclass(frozen=True)
class TaskFile:
    """A task's file: the task as it stands, and its tables of overrides by name."""

    task: Task
    overrides: Mapping[str, Mapping[str, Any]]


def task_names() -> list[str]:
    """The tasks that ship with this package."""
    return sorted(path.stem for path in TASKS_FOLDER.glob("*.toml"))


def read_task(name: str) -> TaskFile:
    """The task of that name, or of the TOML file at that path.

    Raises:
        ConfigError: there is neither, or the file cannot be used.
    """
    path = Path(name).expanduser() if name.endswith(".toml") else TASKS_FOLDER / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise ConfigError(f"there is no task file {path}")
        raise ConfigError(f"unknown task {name!r}; known tasks: {', '.join(task_names())}, or the path of a .toml")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        overrides = {kind: _override(kind, table.pop(kind, {})) for kind in OVERRIDES}
        if "env" in table:
            table["environment"] = table.pop("env")
        return TaskFile(Task.from_json({"name": path.stem, **_beside(table, path)}), overrides)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _override(kind: str, table: object) -> Mapping[str, Any]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"[{kind}] is {table!r}, it must be a table of settings")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}


def _beside(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """A data file named in somebody's own task lies beside it, wherever the command is typed."""
    dataset = table.get("dataset")
    own = path.parent != TASKS_FOLDER and isinstance(dataset, str) and ":" not in dataset
    return {**table, "dataset": str(path.parent / str(dataset))} if own else table
