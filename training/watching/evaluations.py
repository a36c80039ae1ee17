"""Evaluation: what a run's episodes at one update come to, as one number with its error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lamo.evaluation
from lamo.evaluation import Score


@dataclass(frozen=True)
class Evaluation:
    """All episodes that were played at an update.

    Attributes:
        score: mean over target returns and episodes: of normalized scores, or of raw returns where there are none.
        standard_error: of the score, over episode seeds; every target return meets the same ones. None for one.
    """

    update: int
    score: float
    standard_error: float | None


def read_scores(path: Path) -> list[Score]:
    """The rows of a run's `scores.csv`; none where nothing was evaluated.

    Raises:
        ConfigError: its columns are others, or a row is broken.
    """
    with_rows = path.exists() and path.read_text(encoding="utf-8").count("\n") > 1
    return lamo.evaluation.read_scores(path) if with_rows else []


def evaluations(scores: Iterable[Score]) -> list[Evaluation]:
    """The evaluations in a run's rows, by update; at hop 1 or, where that was not played, at the first hop."""
    numbered = [score for score in scores if score.update is not None]
    hops = [score.hop for score in numbered]
    hop = 1 if 1 in hops else next(iter(hops), 1)
    played: dict[int, dict[int, list[float]]] = {}  # update -> episode seed -> a value for every target return
    for score in numbered:
        if score.hop == hop and score.update is not None:
            value = score.episode_return if score.normalized_score is None else score.normalized_score
            played.setdefault(score.update, {}).setdefault(score.episode_seed, []).append(value)
    return [_evaluation(update, list(values.values())) for update, values in sorted(played.items())]


def _evaluation(update: int, values: Sequence[Sequence[float]]) -> Evaluation:
    means = np.array([np.mean(of_seed) for of_seed in values])  # [episode seeds]
    error = float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None
    return Evaluation(update, float(means.mean()), error)
