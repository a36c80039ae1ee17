"""Estimate: how long a sweep will take, from 100 real updates and one real evaluation of each kind of run."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from lamo.errors import LamoError
from training.learning.config import TrainConfig
from training.runs.journal import FLUSH_EVERY
from training.runs.run_folder import RunFolder
from training.sweeps.planned_run import PlannedRun
from training.sweeps.run_process import RunProcess, last_lines
from training.sweeps.side_by_side import Slot

UPDATES = 2 * FLUSH_EVERY
"""The first hundred warm up caches and allocators; the second is timed, from one writing to the next."""

UNTIMED = (
    "seed",
    "label",
    "sample_ratio",
    "indices",
    "updates",
    "learning_rate",
    "lora_learning_rate",
    "weight_decay",
    "warm_up",
    "lora_alpha",
    "gradient_clip",
    "eval_every",
    "save_every",
)
"""Options that change neither the time of an update nor that of an evaluation."""


COLUMNS = ("runs", "s to start", "s/update", "s/evaluation", "hours/run", "hours", "such as")


@dataclass(frozen=True)
class Timing:
    """What one kind of run takes beside as many others as will run at a time, in seconds.

    Attributes:
        start: until the first update.
        evaluation: if every episode is as long as the task allows: an upper bound.
    """

    start: float
    update: float
    evaluation: float

    def hours(self, config: TrainConfig) -> float:
        """Of one run."""
        seconds = self.start + config.updates * self.update + _evaluations(config) * self.evaluation
        return seconds / 3600


def kinds(runs: Iterable[PlannedRun]) -> list[list[PlannedRun]]:
    """The runs in groups that take equally long per update and per evaluation."""
    groups: dict[str, list[PlannedRun]] = {}
    for run in runs:
        document = run.config.to_json()
        key = {name: value for name, value in document.items() if name not in UNTIMED}
        groups.setdefault(json.dumps(key, sort_keys=True), []).append(run)
    return list(groups.values())


def estimate(runs: Sequence[PlannedRun], slots: Sequence[Slot]) -> str:
    """A table of the hours that each kind of run takes, and all runs in these slots.

    Raises:
        LamoError: a run failed.
    """
    rows: list[tuple[str, ...]] = [
        ("runs", "s to start", "s/update", "s/evaluation", "hours/run", "hours", "such as")
    ]
    total = 0.0
    groups = kinds(runs)
    for group in tqdm(groups, desc="estimating", unit="kind"):
        timing = _timing(group[0], slots)
        hours = [timing.hours(run.config) for run in group]
        total += sum(hours)
        numbers = (timing.start, timing.update, timing.evaluation, fmean(hours), sum(hours))
        rows.append((str(len(group)), *(f"{number:.3g}" for number in numbers), group[0].name))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    wall = total / min(len(slots), len(runs))
    return "\n".join([*lines, f"at most {wall:.3g} hours for {len(runs)} runs, {len(slots)} at a time", ""])


def _timing(run: PlannedRun, slots: Sequence[Slot]) -> Timing:
    """Train so many updates in every slot at once: runs side by side slow each other down."""
    short = replace(run, options={**run.options, "updates": UPDATES, "save_every": UPDATES, "eval_every": 0})
    with TemporaryDirectory(prefix="lamo-estimate-") as directory, ExitStack() as stack:
        folders = [RunFolder(Path(directory) / str(number)) for number in range(len(slots))]
        begun = time.time()
        processes = [
            stack.enter_context(
                RunProcess(folder.path, short.words_to_begin(folder.path, slot.options), slot.environment)
            )
            for folder, slot in zip(folders, slots, strict=True)
        ]
        for process, folder in zip(processes, folders, strict=True):
            if exit_code := process.wait():
                raise LamoError(
                    f"run {run.number} ({run.name}) failed with exit code {exit_code}:\n{last_lines(folder.path)}"
                )
        timings = [_read(folder, short.config, begun) for folder in folders]
    return Timing(
        *(fmean(column) for column in zip(*((t.start, t.update, t.evaluation) for t in timings), strict=True))
    )


def _read(folder: RunFolder, config: TrainConfig, begun: float) -> Timing:
    """The timing of a run of `UPDATES` updates, from the times at which it wrote."""
    events = EventAccumulator(str(folder.path))
    events.Reload()
    first, second = (event.wall_time for event in events.Scalars("train/learning_rate"))
    update = (second - first) / FLUSH_EVERY
    played = [tag for tag in events.Tags()["scalars"] if tag.startswith("return/")]
    last = max((event.wall_time for tag in played for event in events.Scalars(tag)), default=second)
    return Timing(
        start=max(0.0, first - begun - FLUSH_EVERY * update),
        update=update,
        evaluation=(last - second) * _cut_short(folder, config) if played else 0.0,
    )


def _cut_short(folder: RunFolder, config: TrainConfig) -> float:
    """How many times longer the evaluation's episodes could have been: a policy of few updates falls early."""
    with folder.scores.open(newline="", encoding="utf-8") as file:
        lengths = [int(row["episode_length"]) for row in csv.DictReader(file)]
    return config.task.max_episode_length / fmean(lengths)


def _evaluations(config: TrainConfig) -> int:
    """How many evaluations a run has; the last update always has one."""
    if config.eval_episodes == 0:
        return 0
    return -(-config.updates // config.eval_every) if config.eval_every else 1
