"""Figure: the distribution of episode returns, one column per target return."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lamo.evaluation import Score
from lamo.scores import ReferenceReturns

EPISODE, SUMMARY, TARGET, QUIET = "#7fa8d1", "#17324d", "#c8553d", "#8a8a8a"

SPREAD = 0.16
"""Half the width over which a column's episodes are spread, so that equal returns stay visible."""


def draw_returns(path: Path, scores: Sequence[Score], reference: ReferenceReturns | None) -> None:
    """Write the picture: every episode a dot, mean and standard deviation beside them, the target a line.

    Where the task has reference returns, the right axis reads normalized scores.
    """
    targets = list(dict.fromkeys(score.target_return for score in scores))
    figure = Figure(figsize=(max(6.0, 1.5 * len(targets) + 2.2), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for column, target in enumerate(targets):
        returns = [score.episode_return for score in scores if score.target_return == target]
        _draw_column(axes, column, target, np.array(returns))
    _label(axes, targets, scores, reference)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _draw_column(axes: Axes, column: int, target: float, returns: NDArray[np.float64]) -> None:
    legend = "" if column == 0 else "_"  # matplotlib leaves labels that begin with _ out of the legend
    generator = np.random.default_rng(column)  # the same picture every time
    places = column - 0.12 + generator.uniform(-SPREAD, SPREAD, len(returns))
    axes.scatter(places, returns, s=22, color=EPISODE, alpha=0.75, linewidths=0, label=f"{legend}episode")
    axes.errorbar(
        column + 0.2,
        returns.mean(),
        yerr=returns.std(),
        fmt="o",
        markersize=6,
        color=SUMMARY,
        capsize=4,
        linewidth=1.6,
        label=f"{legend}mean ± standard deviation",
    )
    axes.hlines(
        target,
        column - 0.36,
        column + 0.36,
        colors=TARGET,
        linestyles=(0, (4, 2)),
        linewidth=1.6,
        label=f"{legend}target return",
    )


def _label(
    axes: Axes, targets: Sequence[float], scores: Sequence[Score], reference: ReferenceReturns | None
) -> None:
    first = scores[0]
    axes.set_title(f"{first.policy} on {first.task}", loc="left", fontweight="bold")
    axes.set_title(f"revision {first.revision}, hop {first.hop}", loc="right", fontsize=8, color=QUIET)
    axes.set_xticks(range(len(targets)), [f"{target:g}" for target in targets])
    axes.set_xlim(-0.6, len(targets) - 0.4)
    axes.set_xlabel("target return")
    axes.set_ylabel("episode return")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if reference is not None:
        _add_normalized_axis(axes, reference)
    axes.figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)


def _add_normalized_axis(axes: Axes, reference: ReferenceReturns) -> None:
    span = reference.expert - reference.random

    def normalized(returns: ArrayLike) -> ArrayLike:
        return 100 * (np.asarray(returns) - reference.random) / span

    def raw(scores: ArrayLike) -> ArrayLike:
        return reference.random + np.asarray(scores) * span / 100

    right = axes.secondary_yaxis("right", functions=(normalized, raw))
    right.set_ylabel("normalized score", color=QUIET)
    right.tick_params(colors=QUIET)
    right.spines["right"].set_visible(False)
