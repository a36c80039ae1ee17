"""Journal: what a run writes while it trains: metrics.csv, scores.csv, watch.csv, TensorBoard, and W&B if asked."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils.tensorboard import SummaryWriter

from lamo.errors import ConfigError
from lamo.evaluation import Score, score_of, summarize, write_scores
from training.learning.learner import UpdateLosses
from training.learning.meter import Reading
from training.runs.run_folder import RunFolder
from training.watching.watch import WATCH_COLUMNS, Watch, append_watch, read_watches

METRICS = ("update", "action_loss", "language_loss", "gradient_norm", "learning_rate")

FLUSH_EVERY = 100
"""Updates between writes: a GPU is waited for that often, and a picture gets so many fewer points."""


@dataclass(frozen=True)
class _Row:
    update: int
    losses: UpdateLosses
    learning_rate: float


class Journal:
    """Writes down one run, from `start` on; rows of later updates, left by a run that was killed, are dropped.

    Args:
        wandb_project: also logged there; None for not at all.
    """

    def __init__(self, folder: RunFolder, start: int, wandb_project: str | None = None) -> None:
        self._folder = folder
        self._start = start
        self._wandb_project = wandb_project
        self._waiting: list[_Row] = []
        self._tensorboard: SummaryWriter
        self._wandb: Any = None

    def __enter__(self) -> Self:
        _keep_until(self._folder.metrics, METRICS, self._start)
        _keep_scores_until(self._folder.scores, self._start)
        _keep_until(self._folder.watch, WATCH_COLUMNS, self._start)
        self._tensorboard = SummaryWriter(str(self._folder.path), purge_step=self._start + 1)
        if self._wandb_project is not None:
            self._wandb = _wandb_run(self._wandb_project, self._folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.flush()
        finally:
            self._tensorboard.close()
            if self._wandb is not None:
                self._wandb.finish()

    def record(self, update: int, losses: UpdateLosses, learning_rate: float) -> None:
        """One update; it is written by the next `flush`."""
        self._waiting.append(_Row(update, losses, learning_rate))

    def flush(self) -> None:
        """Write what waits.

        Raises:
            ConfigError: a loss was not finite.
        """
        if not self._waiting:
            return
        rows, self._waiting = self._waiting, []
        numbers = _numbers([row.losses for row in rows])
        with self._folder.metrics.open("a", newline="", encoding="utf-8") as file:
            for row, values in zip(rows, numbers, strict=True):
                cells = ["" if value is None else repr(value) for value in values]
                file.write(",".join([str(row.update), *cells, repr(row.learning_rate)]) + "\n")
        self._picture(rows, numbers)
        for row, values in zip(rows, numbers, strict=True):
            if not all(value is None or math.isfinite(value) for value in values):
                raise ConfigError(
                    f"training diverged: action loss {values[0]}, gradient norm {values[2]} at update {row.update};"
                    " a lower learning rate may help"
                )

    def reading(self, update: int, reading: Reading) -> None:
        """How fast it went, and the memory it took."""
        if reading.updates_per_second is not None:
            self._scalar("speed/updates_per_second", reading.updates_per_second, update)
        self._scalar("speed/peak_memory_bytes", reading.peak_memory_bytes, update)

    def evaluated(self, update: int) -> bool:
        """Whether an evaluation at this update has been written."""
        with self._folder.scores.open(newline="", encoding="utf-8") as file:
            return any(int(row["update"]) == update for row in csv.DictReader(file))

    def evaluation(self, update: int, scores: Iterable[Score]) -> None:
        """All episodes of one evaluation."""
        rows = list(scores)
        with self._folder.scores.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(astuple(score) for score in rows)
        for summary in summarize(rows):
            where = f"hop_{summary.hop}/target_{summary.target_return:g}"
            self._scalar(f"return/{where}", summary.mean_return, update)
            if summary.mean_score is not None:
                self._scalar(f"normalized_score/{where}", summary.mean_score, update)

    def watched(self, update: int) -> bool:
        """Whether a look at the run after this update has been written."""
        return any(row.update == update for row in read_watches(self._folder.watch))

    def watch(self, watch: Watch) -> None:
        """One look at the run."""
        append_watch(self._folder.watch, watch)
        for name, value in asdict(watch).items():
            if name != "update" and value is not None:
                self._scalar(f"watch/{name}", value, watch.update)

    def _picture(self, rows: Sequence[_Row], numbers: Sequence[Sequence[float | None]]) -> None:
        """Means over the rows, for the pictures."""
        last = rows[-1]
        for name, column in zip(METRICS[1:], zip(*numbers, strict=True), strict=False):
            known = [value for value in column if value is not None]
            if known:
                self._scalar(f"train/{name}", sum(known) / len(known), last.update)
        self._scalar("train/learning_rate", last.learning_rate, last.update)

    def _scalar(self, name: str, value: float, update: int) -> None:
        self._tensorboard.add_scalar(name, value, update)
        if self._wandb is not None:
            self._wandb.log({name: value}, step=update)


def _numbers(losses: Sequence[UpdateLosses]) -> list[tuple[float, float | None, float]]:
    """All losses as numbers, in one transfer from the device per column."""
    actions = torch.stack([item.action for item in losses]).tolist()
    norms = torch.stack([item.gradient_norm for item in losses]).tolist()
    language = [item.language for item in losses if item.language is not None]
    words: list[float | None] = torch.stack(language).tolist() if language else [None] * len(losses)
    return list(zip(actions, words, norms, strict=True))


def _keep_until(path: Path, columns: Sequence[str], update: int) -> None:
    """Begin the file, or cut it after the rows of `update`; their bytes stay as they are."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    numbered = (line.partition(",") for line in lines)  # a kill may leave half a line, even half of its number
    kept = [number + comma + rest for number, comma, rest in numbered if comma and int(number) <= update]
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text("\n".join([",".join(columns), *kept]) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _keep_scores_until(path: Path, update: int) -> None:
    """The same for scores, whose update is one column of many."""
    kept = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            whole = (row for row in csv.DictReader(file) if None not in row.values())
            kept = [score for score in map(score_of, whole) if score.update is not None and score.update <= update]
    write_scores(path, kept)


def _wandb_run(project: str, folder: RunFolder) -> Any:
    try:
        import wandb  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - only when asked for
    except ImportError as error:
        raise ConfigError("--wandb was asked for, but the package wandb is not installed") from error
    return wandb.init(project=project, name=folder.name, config=folder.config().to_json(), dir=str(folder.path))
