"""RunFolder: where a training run keeps its config, its curve, its evaluations and its snapshots."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from lamo.errors import ConfigError
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.runs.snapshot import Snapshot


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    config.json            TrainConfig
    data.json              which data, which of its trajectories, which frozen weights
    metrics.csv            one row per update
    scores.csv             one row per evaluated episode
    watch.csv              one row per look at the run (`training.watching.watch`)
    events.out.tfevents.*  the same for TensorBoard
    snapshots/<update>/    what a run needs to go on
    checkpoint/            the policy at the end
    """

    path: Path

    @property
    def name(self) -> str:
        """The run's name in scores and titles."""
        return self.path.resolve().name

    @property
    def metrics(self) -> Path:
        """One row per update."""
        return self.path / "metrics.csv"

    @property
    def scores(self) -> Path:
        """One row per evaluated episode."""
        return self.path / "scores.csv"

    @property
    def watch(self) -> Path:
        """One row per look at the run."""
        return self.path / "watch.csv"

    @property
    def checkpoint(self) -> Path:
        """The policy at the end of the run."""
        return self.path / "checkpoint"

    def begin(self, experiment: Experiment) -> None:
        """Write down what is about to be trained.

        Raises:
            ConfigError: the folder already holds a run.
        """
        if (self.path / "config.json").exists():
            raise ConfigError(
                f"{self.path} already holds a run: go on with it by --resume {self.path}, or name another folder"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(self.path / "data.json", _identity(experiment))
        self._write_config(experiment.config)

    def resume(self, experiment: Experiment) -> None:
        """Write down how the run goes on: a longer one, interrupted again, is to remember its new length.

        Raises:
            ConfigError: data or language model have changed, or more updates were made than it shall have.
        """
        self.check(experiment)
        made, wanted = max(self.updates(), default=0), experiment.config.updates
        if made > wanted:
            raise ConfigError(f"{self.path} has made {made} updates, it cannot end after {wanted}")
        self._write_config(experiment.config)

    def config(self) -> TrainConfig:
        """The config the run was begun with, or last resumed with.

        Raises:
            ConfigError: the folder holds no run, or one of another version.
        """
        path = self.path / "config.json"
        if not path.is_file():
            raise ConfigError(f"{self.path} holds no training run: there is no {path.name} in it")
        try:
            return TrainConfig.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"{path}: {error}") from error

    def check(self, experiment: Experiment) -> None:
        """Refuse to go on where data or language model are no longer those the run began with.

        Raises:
            ConfigError: they are not.
        """
        begun = json.loads((self.path / "data.json").read_text(encoding="utf-8"))
        for name, value in _identity(experiment).items():
            if begun.get(name) != value:
                raise ConfigError(f"{self.path} was begun with another {name}: {begun.get(name)}, now {value}")

    def save(self, snapshot: Snapshot, keep: int) -> Path:
        """Keep a snapshot, and of all only the newest `keep`."""
        path = self._snapshots / f"{snapshot.update:08d}"
        snapshot.write(path)
        for old in self.updates()[:-keep]:
            shutil.rmtree(self._snapshots / f"{old:08d}")
        return path

    def snapshot(self, update: int | None = None) -> Snapshot:
        """The snapshot of an update, or the newest.

        Raises:
            ConfigError: there is none.
        """
        updates = self.updates()
        if not updates or (update is not None and update not in updates):
            kept = ", ".join(map(str, updates)) or "none"
            asked = "any update" if update is None else f"update {update}"
            raise ConfigError(f"{self.path} has no snapshot of {asked}; snapshots there: {kept}")
        return Snapshot.read(self._snapshots / f"{updates[-1] if update is None else update:08d}")

    def _write_config(self, config: TrainConfig) -> None:
        _write_json(self.path / "config.json", config.to_json())

    @property
    def _snapshots(self) -> Path:
        return self.path / "snapshots"

    def updates(self) -> list[int]:
        """The updates there are snapshots of, ascending."""
        if not self._snapshots.is_dir():
            return []
        return sorted(int(path.name) for path in self._snapshots.iterdir() if path.name.isdecimal())


def _identity(experiment: Experiment) -> dict[str, object]:
    text = None if experiment.text is None else experiment.text.identity
    return {
        "data": experiment.data.trained.name,
        "data_sha256": experiment.data.trained.sha256,
        "trajectories": experiment.data.indices.tolist(),
        "held_out": experiment.data.held_out_indices.tolist(),
        "trunk_sha256": experiment.trunk_sha256,
        "text": None if text is None else {"names": list(text.names), "sha256": text.sha256},
    }


def _write_json(path: Path, document: dict[str, object]) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
