"""SweepFolder: where the runs of a sweep lie, how far each has come, and all their scores in one file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError
from training.learning.config import TrainConfig
from training.runs.options import CHANGEABLE
from training.runs.run_folder import RunFolder
from training.sweeps.file_lock import FileLock, Held
from training.sweeps.planned_run import PlannedRun
from training.sweeps.run_process import LOCK


class State(Enum):
    """How far a run has come."""

    NOT_BEGUN = "not begun"
    BEGUN = "interrupted"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True)
class SweepFolder:
    """The files of a sweep.

    <run>/      one folder per run, named for its options (`training.runs.run_folder`), with its log.txt
    scores.csv  the scores of all runs
    """

    path: Path

    @property
    def scores(self) -> Path:
        """One row per evaluated episode of every run."""
        return self.path / "scores.csv"

    def run_folder(self, run: PlannedRun) -> RunFolder:
        """Where that run lies, or will."""
        return RunFolder(self.path / run.name)

    def state(self, run: PlannedRun) -> State:
        """How far that run has come.

        Raises:
            ConfigError: its folder holds a run with other options.
        """
        folder = self.run_folder(run)
        if not (folder.path / "config.json").is_file():
            return State.RUNNING if self._held(run) else State.NOT_BEGUN
        _refuse_other(run, folder)
        if _exported_updates(folder) >= run.config.updates:
            return State.FINISHED
        return State.RUNNING if self._held(run) else State.BEGUN

    def gather_scores(self, runs: Iterable[PlannedRun]) -> None:
        """Write the scores that the runs have so far into one file, in the order of the runs.

        Raises:
            ConfigError: the runs' scores have different columns: they were made by different versions.
        """
        with FileLock(self.path / ".scores.lock", wait=True):  # two jobs of an array may end at once
            tables = [_table(self.run_folder(run)) for run in runs]
            headers = {header: None for header, _ in tables if header}
            if len(headers) > 1:
                first, second = list(headers)[:2]
                raise ConfigError(f"runs in {self.path} have scores of different columns: {first}, and {second}")
            if headers:
                unfinished = self.path / ".scores.csv.unfinished"
                unfinished.write_text("".join([*headers, *(rows for _, rows in tables)]), encoding="utf-8")
                unfinished.replace(self.scores)

    def _held(self, run: PlannedRun) -> bool:
        path = self.run_folder(run).path / LOCK
        if not path.exists():
            return False
        try:
            with FileLock(path, wait=False):
                return False
        except Held:
            return True


def _table(folder: RunFolder) -> tuple[str, str]:
    """Header and rows of a run's scores, both empty where it has none; half a row, just being written, is left."""
    text = folder.scores.read_text(encoding="utf-8") if folder.scores.is_file() else ""
    header, newline, rows = text[: text.rfind("\n") + 1].partition("\n")
    return header + newline, rows


def _refuse_other(run: PlannedRun, folder: RunFolder) -> None:
    begun = folder.config()
    wanted = _settings(replace(run.config, **{name: getattr(begun, name) for name in CHANGEABLE}))
    for name, value in _settings(begun).items():
        if wanted[name] != value:
            raise ConfigError(
                f"{folder.path} was begun with {name} {value}, now it is {wanted[name]}: "
                "name another folder by --out, or remove that one"
            )


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Everything a config says by name, the task's settings among the run's."""
    document = json.loads(json.dumps(config.to_json()))
    task = document["task"]
    return {**document, **task, "task": task["name"], "dataset": document["dataset"]}


def _exported_updates(folder: RunFolder) -> int:
    """After how many updates the run's policy was exported; 0 where it was not."""
    path = folder.checkpoint / "training.json"
    return int(json.loads(path.read_text(encoding="utf-8"))["updates"]) if path.is_file() else 0
