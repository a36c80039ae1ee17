"""Protocols: ways to make one number of a run's evaluations, so that a choice of them hides nothing.

`last`: the last evaluation, at the best target return.
`paper`: the mean of the last eight evaluations, at the best target return; what Shi et al. (ICLR 2024) report: the
    last 20,000 updates, evaluated every 2,500. A run with fewer evaluations gives all it has.
`mean over targets`: the last evaluation, averaged over all target returns.

The best target return is one per arm and setting, not one per run: the one whose mean over the seeds is highest
under the same protocol, among those that every run played. It is chosen by the very scores it is then reported
with, which flatters; only `mean over targets` is free of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from training.reports.run_scores import RunScores

PAPER_EVALUATIONS = 8


@dataclass(frozen=True)
class Protocol:
    """How many of the last evaluations count, and whether the best target return stands for all of them."""

    name: str
    evaluations: int
    best_target: bool
    explanation: str


LAST = Protocol("last", 1, best_target=True, explanation="the last evaluation, at the best target return.")
PAPER = Protocol(
    "paper",
    PAPER_EVALUATIONS,
    best_target=True,
    explanation="the mean of the last 8 evaluations, or of all where there are fewer, at the best target return. "
    "The best is chosen for each algorithm, task, data set and share by the mean over seeds of the same scores, "
    "which flatters it.",
)
MEAN_OVER_TARGETS = Protocol(
    "mean over targets",
    1,
    best_target=False,
    explanation="the last evaluation, averaged over all target returns: the only one that chooses nothing by its "
    "own result.",
)
PROTOCOLS = (LAST, PAPER, MEAN_OVER_TARGETS)


@dataclass(frozen=True)
class ArmScores:
    """One number for each run of an arm in a setting.

    Attributes:
        values: [runs], normalized scores or raw returns.
        target_return: the best one; None where all count.
        evaluations: [runs], how many evaluations each number rests on.
    """

    values: NDArray[np.float64]
    target_return: float | None
    evaluations: tuple[int, ...]


def arm_scores(runs: Sequence[RunScores], protocol: Protocol, *, normalized: bool) -> ArmScores:
    """What the protocol makes of the runs of one arm in one setting.

    Raises:
        ConfigError: the runs have no target return in common to choose the best of.
    """
    used = tuple(min(len(run.updates), protocol.evaluations) for run in runs)
    finals = [
        _mean(run.values(normalized)[-protocol.evaluations :], axis=0) for run in runs
    ]  # each [target returns of the run]
    if not protocol.best_target:
        return ArmScores(np.array([_mean(final) for final in finals]), None, used)
    targets = _shared_targets(runs)
    table = np.array(
        [final[np.searchsorted(-run.target_returns, -targets)] for run, final in zip(runs, finals, strict=True)]
    )  # [runs, shared targets]
    best = int(np.argmax(table.mean(axis=0)))
    return ArmScores(table[:, best], float(targets[best]), used)


def drops(runs: Sequence[RunScores], *, normalized: bool) -> NDArray[np.float64]:  # [runs]
    """How far each run fell from its best evaluation to its last, at the best target return of `last`."""
    target = arm_scores(runs, LAST, normalized=normalized).target_return
    fallen = []
    for run in runs:
        curve = run.values(normalized)[:, run.target_returns == target].ravel()  # [E]
        fallen.append(float(np.nanmax(curve) - curve[-1]))
    return np.array(fallen)


def learning_curves(
    runs: Sequence[RunScores], *, normalized: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # [points], [runs, points]
    """Score against update, averaged over target returns, at the updates where every run was evaluated."""
    shared = runs[0].updates
    for run in runs[1:]:
        shared = np.intersect1d(shared, run.updates)
    curves = [_mean(run.values(normalized), axis=1)[np.isin(run.updates, shared)] for run in runs]
    return shared, np.array(curves)


def _shared_targets(runs: Sequence[RunScores]) -> NDArray[np.float64]:
    """Descending; those that every run played at all the evaluations that could count."""
    shared = runs[0].target_returns
    for run in runs:
        complete = ~np.isnan(run.returns[-PAPER_EVALUATIONS:]).any(axis=0)
        shared = np.intersect1d(shared, run.target_returns[complete])
    if not len(shared):
        setting = runs[0].setting
        raise ConfigError(
            f"the {len(runs)} runs of {runs[0].arm!r} on {setting.task}, {setting.dataset}, were played at no "
            "target return in common, so none of them is the best: evaluate them at the same ones"
        )
    return shared[::-1]


def _mean(values: NDArray[np.float64], axis: int | None = None) -> NDArray[np.float64]:
    """Over what was played; NaN where nothing was."""
    played = np.count_nonzero(~np.isnan(values), axis=axis)
    sums = np.asarray(np.nansum(values, axis=axis))
    means = np.full(sums.shape, np.nan)
    np.divide(sums, played, out=means, where=played > 0)
    return means
