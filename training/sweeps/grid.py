"""Grid: the runs of an experiment as a product of axes, tasks and arms; `training.sweeps.grid_file` reads it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError
from training.sweeps.planned_run import PlannedRun, Scalar, Value

COLUMNS = ("task", "dataset", "sample_ratio", "preset", "seed", "hops")
"""Options that the scores have a column for; a value of any other axis becomes part of the arm's name."""

Options = Mapping[str, Value]
Axes = Mapping[str, Sequence[Value]]


@dataclass(frozen=True)
class Entry:
    """A task's or an arm's own options and axes; `name` is the arm's, and empty for a task."""

    name: str = ""
    options: Options = field(default_factory=dict)
    axes: Axes = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """An experiment of many runs. The more particular options win: every < axes < tasks < arms < overrides.

    Attributes:
        every: options of every run.
        axes: lists whose product is taken.
        tasks, arms: combined with each other; an axis of theirs replaces the grid's of that name.
        exclude: runs are left out that have all values of one of these; a list means any of its values, and
            `name` the arm's.
        overrides: options given on the command line.
        data: data sets by task, likewise.
    """

    name: str
    every: Options
    axes: Axes
    tasks: tuple[Entry, ...] = (Entry(),)
    arms: tuple[Entry, ...] = (Entry(),)
    exclude: tuple[Options, ...] = ()
    overrides: Options = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)

    def with_seeds(self, seeds: Sequence[int]) -> Grid:
        """The same grid with these seeds for every arm."""
        return replace(self, axes={**self.axes, "seed": list(seeds)})

    def runs(self) -> tuple[PlannedRun, ...]:
        """Every run, in order: one seed of everything before the next seed.

        Raises:
            ConfigError: an option cannot have its value, two runs are the same, or none is left.
        """
        drafts = [draft for task in self.tasks for arm in self.arms for draft in self._drafts(task, arm)]
        if not drafts:
            raise ConfigError(f"grid {self.name} has no runs: every one is excluded")
        if unknown := sorted(self.data.keys() - {draft.options.get("task") for draft in drafts}):
            raise ConfigError(f"data was given for {unknown[0]}, which is no task of grid {self.name}")
        seeds = list(self.axes.get("seed", ()))
        drafts.sort(key=lambda draft: seeds.index(draft.options["seed"]) if seeds else 0)
        names = _names(drafts)
        runs = tuple(PlannedRun(number, name, drafts[number].options) for number, name in enumerate(names))
        _refuse_duplicates(runs)
        return runs

    def _drafts(self, task: Entry, arm: Entry) -> Iterator[_Draft]:
        """The product of one task's and one arm's axes."""
        choices: dict[str, Sequence[Value]] = {}
        varied: set[str] = set()
        for options, axes in (
            (self.every, self.axes),
            (task.options, task.axes),
            (arm.options, arm.axes),
            (self.overrides, {}),
        ):
            choices |= {name: [value] for name, value in options.items()} | dict(axes)
            varied = (varied - options.keys()) | axes.keys()
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            if not any(_matches(entry, {**chosen, "name": arm.name}) for entry in self.exclude):
                yield self._draft(arm.name, chosen, varied)

    def _draft(self, arm: str, options: dict[str, Value], varied: Iterable[str]) -> _Draft:
        settings = {name: f"{name}={_text(options[name])}" for name in sorted(varied)}
        label = " ".join(filter(None, (arm, *(text for name, text in settings.items() if name not in COLUMNS))))
        task = str(options.get("task", ""))
        named = [text for name, text in settings.items() if name not in ("task", "seed")]
        parts = (_text(task), arm, *named, settings.get("seed", ""))
        given = {"dataset": self.data[task]} if task in self.data else {}
        return _Draft(
            name="_".join(_slug(part) for part in parts if part),
            options={**options, **given, **({"label": label} if label else {})},
        )


@dataclass(frozen=True)
class _Draft:
    """A run without its number, under a name that another one may have too."""

    name: str
    options: dict[str, Value]


def _names(drafts: Sequence[_Draft]) -> list[str]:
    """The drafts' names; those that several have get a hash of their options, which no order changes."""
    counts = Counter(draft.name for draft in drafts)
    return [
        draft.name if counts[draft.name] == 1 else f"{draft.name}_{_fingerprint(draft.options)}" for draft in drafts
    ]


def _fingerprint(options: Options) -> str:
    return hashlib.sha256(json.dumps(dict(options), sort_keys=True).encode()).hexdigest()[:8]


def _matches(entry: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    return all(
        options.get(name) in wanted if isinstance(wanted, list) else options.get(name) == wanted
        for name, wanted in entry.items()
    )


def _text(value: Value) -> str:
    """A value for a name: of a path only its last part."""
    if isinstance(value, list):
        return "+".join(map(_scalar_text, value))
    return _scalar_text(value)


def _scalar_text(value: Scalar) -> str:
    if isinstance(value, str):
        return Path(value).stem if "/" in value else value
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _slug(part: str) -> str:
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", part).strip("-")


def _refuse_duplicates(runs: Iterable[PlannedRun]) -> None:
    """Refuse runs that would be the same, and different ones that their rows in the scores would not tell apart."""
    configs: dict[str, PlannedRun] = {}
    rows: dict[str, PlannedRun] = {}
    for run in runs:
        document = run.config.to_json()
        row = json.dumps([run.options.get(name) for name in (*COLUMNS, "label")])
        document.pop("label", None)
        same = configs.setdefault(json.dumps(document, sort_keys=True), run)
        if same is not run:
            raise ConfigError(f"runs {same.number} ({same.name}) and {run.number} ({run.name}) are the same")
        alike = rows.setdefault(row, run)
        if alike is not run:
            raise ConfigError(
                f"runs {alike.number} ({alike.name}) and {run.number} ({run.name}) would have the same task, data, "
                "seed and name in the scores: make the difference an arm or an axis"
            )
