"""ServePlots: throughput by episodes, and answers and latency by the rate that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator
from pages.results import Cell

from training.reports.figures import COLOURS, INK, quiet


def by_episodes(cells: Sequence[Cell]) -> Figure:
    """Steps per second in a closed loop; dashed the policy in process."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    for colour, (title, points) in zip(COLOURS, _by_title(cells).items(), strict=False):
        episodes = [cell.load.callers for cell in points]
        axes.plot(episodes, [cell.per_second for cell in points], color=colour, marker="o", label=title)
        alone = [cell.in_process or float("nan") for cell in points]
        axes.plot(episodes, alone, "--", color=colour, marker="o", markerfacecolor="none", linewidth=1)
    axes.plot([], [], "--", color=INK, linewidth=1, marker="o", markerfacecolor="none", label="in process")
    axes.set(xlabel="episodes, closed loop", ylabel="steps/s", yscale="log")
    _finish(axes, sorted({cell.load.callers for cell in cells}))
    return figure


def by_rate(cells: Sequence[Cell]) -> Figure:
    """Answers per second, and the median and 99th percentile of the latency, in an open loop."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rates = sorted({cell.load.rate or 0.0 for cell in cells})
    left.plot(rates, rates, color=INK, linewidth=0.8, label="asked for")
    for colour, (title, points) in zip(COLOURS, _by_title(cells).items(), strict=False):
        asked = [cell.load.rate for cell in points]
        left.plot(asked, [cell.per_second for cell in points], color=colour, marker="o", label=title)
        right.plot(asked, [cell.p50_ms for cell in points], color=colour, marker="o", label=f"{title}, p50")
        p99 = [cell.p99_ms for cell in points]
        right.plot(asked, p99, "--", color=colour, marker="o", markerfacecolor="none", label=f"{title}, p99")
    left.set(xlabel="steps/s asked for, open loop", ylabel="steps/s answered", yscale="log")
    right.set(xlabel="steps/s asked for, open loop", ylabel="latency from when due, ms", yscale="log")
    for axes in (left, right):
        _finish(axes, rates)
    return figure


def _by_title(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    titles = dict.fromkeys(cell.load.title for cell in cells)
    return {title: [cell for cell in cells if cell.load.title == title] for title in titles}


def _finish(axes: Axes, places: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, fontsize=8)
    quiet(axes)
