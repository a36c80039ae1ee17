"""Watched: what a run's `watch.csv` and `scores.csv` come to, for its page: figures, and named signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.reports import figures
from training.watching.evaluations import evaluations, read_scores
from training.watching.signatures import DEFINITIONS, Signature, signatures
from training.watching.watch import Watch, read_watches

WATCH, SCORES = "watch.csv", "scores.csv"


@dataclass(frozen=True)
class Watched:
    """The section "Training, watched" of a run's page.

    Attributes:
        figures: an SVG element each, with what it shows.
    """

    lead: str
    signatures: list[Signature]
    figures: list[tuple[str, str]]

    @property
    def verdict(self) -> str:
        """One sentence for a run without signatures."""
        return f"None of {', '.join(DEFINITIONS)} shows."


def signatures_of(folder: Path) -> list[Signature]:
    """The signatures that the run in a folder shows; none for one that was never watched or played."""
    return signatures(read_watches(folder / WATCH), evaluations(read_scores(folder / SCORES)))


def watched(folder: Path) -> Watched | None:
    """The section about the run in a folder; None for a run that was not watched."""
    watches = read_watches(folder / WATCH)
    return Watched(_lead(watches), signatures_of(folder), _figures(watches)) if watches else None


def _lead(watches: Sequence[Watch]) -> str:
    last = watches[-1]
    speeds = [item.updates_per_second for item in watches if item.updates_per_second is not None]
    speed = f"{np.median(speeds):.3g} updates per second, " if speeds else ""
    drop = "" if last.score_drop is None else f" The last score is {last.score_drop:.1f} below the best."
    peak = max(item.peak_memory_bytes for item in watches) / 2**30
    return f"{last.trained_parameters:,} parameters trained, {speed}{peak:.2f} GiB of memory at most.{drop}"


def _figures(watches: Sequence[Watch]) -> list[tuple[str, str]]:
    losses = {
        "held-out trajectories": _series(watches, "held_out_action_loss"),
        "training trajectories": _series(watches, "training_action_loss"),
    }
    losses = {label: series for label, series in losses.items() if len(series[0])}
    caption = "Action loss without dropout, on evenly spread windows of both."
    if len(losses) == 1:
        caption += " No trajectory was held out: overfitting cannot be seen."
    drawn = [(figures.curve(losses, ylabel="mean squared error", logarithmic=True), caption)]
    language, norm = _series(watches, "language_loss"), _series(watches, "update_norm")
    if len(language[0]):
        caption = f"Language ability: the trunk's loss on held-out text, {language[1][0]:.2f} at the first look."
        drawn.append((figures.curve({"language loss": language}, ylabel="nats per token"), caption))
    if norm[1].any():
        caption = "Update norm: how far the trunk has moved, relative to its weights."
        drawn.append((figures.curve({"update norm": norm}, ylabel="relative norm"), caption))
    return drawn


def _series(watches: Sequence[Watch], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Updates and values of a column, where it has any."""
    known = [(item.update, getattr(item, name)) for item in watches if getattr(item, name) is not None]
    updates, values = zip(*known, strict=True) if known else ((), ())
    return np.array(updates, np.float64), np.array(values, np.float64)
