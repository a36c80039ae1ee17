"""Figures of a report, as SVG text: return distributions, learning curves, an episode of the arm."""

from __future__ import annotations

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from training.reacher2d import JOINT_OFFSET, STEP_SECONDS, UPPER_ARM_LENGTH

# Okabe and Ito's palette: told apart by every reader. LaMo first, the behavior policy second, chance last.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
CHANCE_COLOUR = "#888888"
INK = "#222222"


def return_distributions(
    returns: dict[str, NDArray[np.float64]],  # arm -> [episodes]
) -> str:
    """One row per arm: every episode's return as a point, quartiles as a box, the mean as a diamond."""
    figure, axes = _figure(height=0.9 + 0.62 * len(returns))
    jitter = np.random.default_rng(0)
    for row, (arm, values) in enumerate(reversed(returns.items())):
        colour = _colour(arm, len(returns) - 1 - row)
        box = axes.boxplot(
            values, positions=[row], orientation="horizontal", widths=0.5, showfliers=False, patch_artist=True
        )
        for patch in box["boxes"]:
            patch.set(facecolor=colour, alpha=0.25, edgecolor=colour)
        for line in (*box["whiskers"], *box["caps"], *box["medians"]):
            line.set(color=colour)
        heights = row + jitter.uniform(-0.2, 0.2, len(values))
        axes.scatter(values, heights, s=9, color=colour, alpha=0.5, linewidths=0)
        axes.scatter(values.mean(), row, s=55, marker="D", color=colour, edgecolors="white", zorder=5)
    axes.set_yticks(range(len(returns)), list(reversed(returns)))
    axes.set_xlabel("episode return (points: episodes, box: quartiles, diamond: mean)")
    return svg(figure)


def curve(
    series: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],  # label -> updates, values
    *,
    ylabel: str,
    logarithmic: bool = False,
) -> str:
    """Values against updates; series of many points are smoothed over a fiftieth of the run, raw ones behind."""
    figure, axes = _figure(height=3.0)
    for index, (label, (updates, values)) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        window = len(values) // 50
        if window > 1:
            axes.plot(updates, values, color=colour, alpha=0.18, linewidth=0.7)
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axes.plot(updates[window - 1 :], smooth, color=colour, label=label)
        else:
            axes.plot(updates, values, color=colour, label=label, marker="o", markersize=4)
    if logarithmic:
        axes.set_yscale("log")
    axes.set_xlabel("update")
    axes.set_ylabel(ylabel)
    axes.legend(frameon=False)
    return svg(figure)


def reacher_episode(
    observations: NDArray[np.float32],  # [T, 12]
    rewards: NDArray[np.float64],  # [T]
) -> str:
    """An episode of Reacher2d redrawn from its joint angles: the arm over time, its tip's path, the target."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    arm, reward = figure.subplots(1, 2, width_ratios=(1.1, 1))
    joints = arm_positions(observations)  # [T, 3, 2]
    shown = np.unique(np.linspace(0, len(joints) - 1, 14).astype(int))
    for frame in shown:
        share = frame / max(len(joints) - 1, 1)
        arm.plot(
            *joints[frame].T, color=COLOURS[0], alpha=0.12 + 0.8 * share, linewidth=2.5, solid_capstyle="round"
        )
    arm.plot(*joints[:, 2].T, color=COLOURS[5], linewidth=1, label="fingertip")
    target = observations[0, 8:10]
    arm.add_patch(Circle((target[0], target[1]), 0.1, color=COLOURS[2], alpha=0.4, label="target"))
    arm.scatter(0, 0, s=40, color=INK, zorder=5)
    arm.set(aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xlabel="x (m)", ylabel="y (m)")
    arm.set_title("the arm, from light (start) to dark (end)", fontsize=9)
    arm.legend(frameon=False, loc="upper left", fontsize=8)
    distance = np.abs(observations[:, 10:12]).sum(axis=1)
    seconds = STEP_SECONDS * np.arange(len(rewards))
    reward.plot(seconds, distance, color=COLOURS[5], label="L1 distance to the target (m)")
    reward.fill_between(
        seconds, 0, distance.max() * rewards, color=COLOURS[2], alpha=0.2, step="post", label="paid"
    )
    reward.set(xlabel="time (s)", ylim=(0, None))
    reward.legend(frameon=False, fontsize=8)
    for axes in (arm, reward):
        quiet(axes)
    return svg(figure)


def arm_positions(
    observations: NDArray[np.float32],  # [T, 12]
) -> NDArray[np.float64]:  # [T, 3, 2]
    """Where shoulder, elbow and fingertip are (x, y in metres), by forward kinematics from sin q and cos q."""
    shoulder, elbow = np.arctan2(observations[:, 0:2], observations[:, 2:4]).astype(np.float64).T
    first = shoulder + JOINT_OFFSET
    second = first + elbow - JOINT_OFFSET
    elbow_position = UPPER_ARM_LENGTH * _direction(first)
    fingertip = elbow_position + FOREARM_LENGTH * _direction(second)
    return np.stack([np.zeros_like(elbow_position), elbow_position, fingertip], axis=1)


FOREARM_LENGTH = 0.45
"""From the elbow to the fingertip site, which lies beyond the forearm's capsule."""


def _direction(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _colour(arm: str, index: int) -> str:
    return CHANCE_COLOUR if arm == "random policy" else COLOURS[index % len(COLOURS)]


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.subplots()
    quiet(axes)
    return figure, axes


def quiet(axes: Axes) -> None:
    """Leave a plot its two axes and a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def svg(figure: Figure) -> str:
    """The figure as an SVG element; the same figure is the same text every time."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "figure"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
