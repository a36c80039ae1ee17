"""Watch: one look at a run while it trains, a row of `watch.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Watch:
    """What a run shows after an update; a field is None where the run has no such thing.

    Attributes:
        training_action_loss: on windows of the trajectories that are trained on, without dropout.
        held_out_action_loss: the same on held-out trajectories.
        language_loss: of the trunk as it stands on held-out text, nats per token; before the first update it is
            the language model's own.
        update_norm: how far the trunk has moved, relative to its weights (`training.watching.update_norm`).
        score: of the evaluation at this update, mean over target returns and episodes: normalized, or raw returns.
        score_drop: from the best evaluation so far to this one.
        updates_per_second: since the run last wrote, without what is no training.
        peak_memory_bytes: as in `training.learning.meter`.
        trained_parameters: how many numbers train.
    """

    update: int
    training_action_loss: float
    held_out_action_loss: float | None
    language_loss: float | None
    update_norm: float | None
    score: float | None
    score_drop: float | None
    updates_per_second: float | None
    peak_memory_bytes: int
    trained_parameters: int


WATCH_COLUMNS = tuple(field.name for field in fields(Watch))

_WHOLE = ("update", "peak_memory_bytes", "trained_parameters")


def append_watch(path: Path, watch: Watch) -> None:
    """Add a row to a `watch.csv` that has its header; floats survive the round trip exactly."""
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(astuple(watch))


def read_watches(path: Path) -> list[Watch]:
    """The rows of a `watch.csv`; none where there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [_watch(row) for row in csv.DictReader(file)]


def _watch(row: Mapping[str, str]) -> Watch:
    numbers = {name: int(row[name]) for name in _WHOLE}
    rest = {name: float(row[name]) if row[name] else None for name in WATCH_COLUMNS if name not in _WHOLE}
    return Watch(**numbers, **rest)  # type: ignore[arg-type]
