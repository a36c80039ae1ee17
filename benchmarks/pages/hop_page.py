"""The page of `hop_score.py`: a table and a plot of what each hop scored against hop 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages.hop_differences import Difference, HopDifferences, HopScore
from pages.page import markdown_table

from training.learning.config import TrainConfig
from training.reports.figures import COLOURS, INK, quiet

HEAD = (
    "policy|hop|episodes|return|standard error|normalized|less hop 1: return|95 % interval|normalized|95 % interval"
)


def page(
    tasks: Sequence[HopDifferences], configs: Sequence[TrainConfig], machine: Mapping[str, str], out: Path | None
) -> str:
    """Everything in Markdown; the plot is linked if the page becomes a file."""
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    plot = [] if out is None else [f"![Paired difference to hop 1]({out.with_suffix('.png').name})"]
    sections = [_section(task, config) for task, config in zip(tasks, configs, strict=True)]
    return "\n\n".join(["# benchmarks/hop_score.py", facts, _reading(), *plot, *sections]) + "\n"


def drawing(tasks: Sequence[HopDifferences]) -> Figure:
    """One panel per task: each hop's difference to hop 1 with its interval, policy by policy and together."""
    figure = Figure(figsize=(4.2 * len(tasks), 3.4), layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _panel(axes, task)
    return figure


def _reading() -> str:
    return (
        "Every hop of a policy meets the same episode seeds; differences are taken episode by episode. "
        "Intervals are percentile bootstraps over episodes, within each policy: they say how far other episodes of "
        "these policies might move a number, not other training seeds."
    )


def _section(task: HopDifferences, config: TrainConfig) -> str:
    about = (
        f"Context length {config.task.context_length}, target return {task.target_return:g}; "
        f"{config.updates} updates of {config.batch_size} subtrajectories of {task.dataset}, "
        f"learning rate {config.learning_rate:g} after {config.warm_up} updates."
    )
    named = [(f"seed {seed}", task.of_policy(index)) for index, seed in enumerate(task.seeds)]
    together = [("together", task.of_all())] if len(task.seeds) > 1 else []
    rows = [_row(name, score) for name, scores in (*named, *together) for score in scores]
    return f"## {task.task}\n\n{about}\n\n{markdown_table(HEAD, rows)}"


def _row(name: str, score: HopScore) -> list[str]:
    return [
        name,
        str(score.hop),
        str(score.episodes),
        f"{score.mean_return:.0f}",
        f"{score.standard_error:.0f}",
        f"{score.normalized_score:.1f}",
        *_difference(score.difference, 0),
        *_difference(score.normalized_difference, 1),
    ]


def _difference(difference: Difference | None, digits: int) -> tuple[str, str]:
    if difference is None:
        return "", ""
    low, high = (f"{end:+.{digits}f}" for end in (difference.low, difference.high))
    return f"{difference.value:+.{digits}f}", f"{low} to {high}"


def _panel(axes: Axes, task: HopDifferences) -> None:
    """Points of several policies stand beside each other, those of all together between them."""
    series = [(f"seed {seed}", task.of_policy(index)) for index, seed in enumerate(task.seeds)]
    if len(series) > 1:
        series.append(("together", task.of_all()))
    for index, (name, scores) in enumerate(series):
        colour = INK if name == "together" else COLOURS[index]
        _points(axes, scores[1:], 0.18 * (index - (len(series) - 1) / 2), colour, name)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks(range(len(task.hops) - 1), [str(hop) for hop in task.hops[1:]])
    axes.set_xlabel("hop")
    axes.set_ylabel("normalized score less hop 1's")
    axes.set_title(f"{task.task}: 95 % intervals, hop 1 scores {task.of_all()[0].normalized_score:.1f}", fontsize=9)
    axes.set_xlim(-0.5, len(task.hops) - 1.5)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=8)
    quiet(axes)


def _points(axes: Axes, scores: Sequence[HopScore], shift: float, colour: str, name: str) -> None:
    differences = [score.normalized_difference for score in scores if score.normalized_difference is not None]
    values = [item.value for item in differences]
    errors = [[item.value - item.low for item in differences], [item.high - item.value for item in differences]]
    places = [place + shift for place in range(len(values))]
    axes.errorbar(places, values, yerr=errors, color=colour, marker="o", markersize=4, linestyle="", label=name)
