"""Bands: figures of scores over several runs, each with the 95 % interval of its interquartile mean, as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from training.reports.figures import COLOURS, INK, quiet, svg
from training.reports.statistics import Estimate

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH = 7.6


@dataclass(frozen=True)
class Band:
    """A line with an interval around it; without one where a single run leaves none."""

    x: NDArray[np.float64]  # [points]
    middle: NDArray[np.float64]  # [points]
    low: NDArray[np.float64] | None  # [points], NaN where there is no interval
    high: NDArray[np.float64] | None  # [points]


def learning_curves(
    panels: Mapping[str, Mapping[str, Band]],  # title -> arm -> band
    arms: Sequence[str],
    ylabel: str,
) -> str:
    """Score against update, one panel per sample ratio; all panels share their axes."""
    rows, columns = -(-len(panels) // 2), min(2, len(panels))
    figure = Figure(figsize=(WIDTH, 0.5 + 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (title, bands) in zip(grid, panels.items(), strict=False):
        _draw(axes, bands, arms)
        axes.set_title(title, fontsize=9, loc="left")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel("update", fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    _legend(figure, grid[: len(panels)], arms)
    return svg(figure)


def data_ratios(bands: Mapping[str, Band], arms: Sequence[str], ylabel: str) -> str:
    """Score against the share of the data, on a logarithmic axis; x is the ratio."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    _draw(axes, bands, arms)
    ratios = np.unique(np.concatenate([band.x for band in bands.values()]))
    axes.set_xscale("log")
    axes.set_xticks(ratios)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{100 * ratio:g} %"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the data set's trajectories", fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    _legend(figure, [axes], arms)
    return svg(figure)


def intervals(
    panels: Mapping[str, Mapping[str, Estimate]],  # label of the axis -> arm -> estimate
    arms: Sequence[str],
    chance: str,
) -> str:
    """A row per arm, its estimate a point on its interval; the panel `chance` is of probabilities."""
    rows = [arm for arm in reversed(arms) if any(arm in estimates for estimates in panels.values())]
    figure = Figure(figsize=(WIDTH, 0.8 + 0.34 * len(rows)), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
    for axes, (label, estimates) in zip(grid, panels.items(), strict=True):
        quiet(axes)
        for arm, estimate in estimates.items():
            _interval(axes, rows.index(arm), estimate, arms.index(arm))
        if label == chance:
            axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.set_xlim(-0.03, 1.03)
        axes.set_xlabel(label, fontsize=9)
        axes.set_ylim(-0.6, len(rows) - 0.4)
    grid[0].set_yticks(range(len(rows)), rows)
    return svg(figure)


def _interval(axes: Axes, row: int, estimate: Estimate, index: int) -> None:
    colour, marker = _style(index)
    if estimate.low is not None and estimate.high is not None:
        axes.plot(
            [estimate.low, estimate.high], [row, row], color=colour, alpha=0.35, linewidth=7, solid_capstyle="butt"
        )
    axes.scatter(estimate.value, row, s=45, zorder=3, color=colour, marker=marker)


def _draw(axes: Axes, bands: Mapping[str, Band], arms: Sequence[str]) -> None:
    quiet(axes)
    for arm, band in bands.items():
        colour, marker = _style(arms.index(arm))
        axes.plot(band.x, band.middle, label=arm, markersize=4.5, linewidth=1.6, color=colour, marker=marker)
        if band.low is not None and band.high is not None:
            axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.16, linewidth=0)


def _style(index: int) -> tuple[str, str]:
    """Colour and marker: an arm is told apart in black and white too."""
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def _legend(figure: Figure, grid: Iterable[Axes], arms: Sequence[str]) -> None:
    """One for all panels, in the order of the arms."""
    handles = {}
    for axes in grid:
        handles.update(dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True)))
    shown = [arm for arm in arms if arm in handles]
    figure.legend(
        [handles[arm] for arm in shown], shown, loc="outside upper center", ncols=4, frameon=False, fontsize=9
    )
