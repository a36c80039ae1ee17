"""Run scores: the evaluations of a training run as arrays, and under what it may be compared with others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.evaluation import Score


@dataclass(frozen=True)
class Setting:
    """What runs are compared under: the same task and data, the same share of the data, the same hop."""

    task: str
    dataset: str
    sample_ratio: float | None
    hop: int


@dataclass(frozen=True)
class RunScores:
    """The evaluations of one run in one setting; a number is the mean over the episodes of a target return.

    Attributes:
        arm: the algorithm's name, or the policy's where none is known; with the preset behind it where the same
            algorithm comes with several.
        seed: the training seed, or `policy@revision` of a policy that was only evaluated.
        updates: [E], ascending; one -1 for a policy that was only evaluated.
        target_returns: [T], descending.
        returns: [E, T] raw episode returns, NaN where a target was not played at an update.
        normalized: [E, T] normalized scores; None if any episode has none.
        episodes: the seeds of the environment.
    """

    setting: Setting
    arm: str
    seed: str
    updates: NDArray[np.int64]
    target_returns: NDArray[np.float64]
    returns: NDArray[np.float64]
    normalized: NDArray[np.float64] | None
    episodes: frozenset[int]
    dataset_hashes: frozenset[str]
    code_versions: frozenset[str]
    episodes_played: int

    def values(self, normalized: bool) -> NDArray[np.float64]:  # [E, T]
        """Normalized scores, or raw returns."""
        if normalized:
            assert self.normalized is not None  # noqa: S101 - who asks has looked at every run
            return self.normalized
        return self.returns


def runs_of(scores: Sequence[Score]) -> list[RunScores]:
    """The runs behind the rows, in the order in which they first come.

    Rows without an update belong to a finished policy that was played by itself. Where its training run was
    evaluated too, they are left out: every arm is to be measured at the same moments.
    """
    presets: dict[str, set[str]] = {}
    for score in scores:
        presets.setdefault(_algorithm(score), set()).add(score.preset)
    groups: dict[tuple[Setting, str, str], list[Score]] = {}
    settings: dict[tuple[object, ...], Setting] = {}
    for score in scores:
        where = (score.task, score.dataset, score.sample_ratio, score.hop)
        setting = settings.get(where) or settings.setdefault(where, Setting(*where))
        algorithm = _algorithm(score)
        arm = algorithm if len(presets[algorithm]) == 1 else f"{algorithm} ({score.preset})"
        groups.setdefault((setting, arm, _seed(score)), []).append(score)
    return [_run(*key, rows) for key, rows in groups.items()]


def _algorithm(score: Score) -> str:
    """Of a policy whose origin nobody wrote down, its own name."""
    return score.algorithm or score.policy


def _seed(score: Score) -> str:
    return f"{score.policy}@{score.revision}" if score.seed is None else str(score.seed)


def _run(setting: Setting, arm: str, seed: str, scores: Sequence[Score]) -> RunScores:
    numbered = [score for score in scores if score.update is not None]
    rows = numbered or scores
    updates, row = np.unique([-1 if score.update is None else score.update for score in rows], return_inverse=True)
    ascending, column = np.unique([score.target_return for score in rows], return_inverse=True)
    cells, shape = row * len(ascending) + (len(ascending) - 1 - column), (len(updates), len(ascending))
    known = all(score.normalized_score is not None for score in rows)
    normalized = [score.normalized_score for score in rows if score.normalized_score is not None]
    return RunScores(
        setting=setting,
        arm=arm,
        seed=seed,
        updates=updates.astype(np.int64),
        target_returns=ascending[::-1],
        returns=_cell_means(cells, [score.episode_return for score in rows], shape),
        normalized=_cell_means(cells, normalized, shape) if known else None,
        episodes=frozenset(score.episode_seed for score in rows),
        dataset_hashes=_distinct(score.dataset_hash for score in rows),
        code_versions=_distinct(score.code_version for score in rows),
        episodes_played=len(rows),
    )


def _cell_means(
    cells: NDArray[np.intp],  # [rows], where in the flattened table each value belongs
    values: Sequence[float],
    shape: tuple[int, int],
) -> NDArray[np.float64]:  # [E, T]
    size = shape[0] * shape[1]
    counts = np.bincount(cells, minlength=size)
    sums = np.bincount(cells, weights=np.array(values, np.float64), minlength=size)
    means = np.full(size, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means.reshape(shape)


def _distinct(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word for word in words if word)
