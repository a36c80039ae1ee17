"""What a data set holds, as lines for a reader."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from training.data.trajectories import Trajectories
from training.tasks.task import Task, read_task

LABELS = ("names", "units")
"""Attributes that are shown number by number."""

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)


def inspection(trajectories: Trajectories, task: str | None) -> str:
    """What a data set holds, one fact per line; what the file says about itself is in [brackets]."""
    returns = trajectories.episode_returns
    observations = np.concatenate([trajectory.observations for trajectory in trajectories])
    actions = np.concatenate([trajectory.actions for trajectory in trajectories])
    terminated = sum(trajectory.terminated for trajectory in trajectories)
    rows = {
        "source": trajectories.source,
        "sha256": trajectories.sha256,
        "episodes": str(len(trajectories)),
        "ends": f"{terminated} terminated, {len(trajectories) - terminated} truncated",
        "steps": str(len(observations)),
        "episode lengths": _quantiles(trajectories.lengths.astype(np.float64)),
        "episode returns": _quantiles(returns),
        "mean return": f"{returns.mean():.2f} (standard deviation {returns.std():.2f})",
        "observations": _extent(observations),
        "actions": _extent(actions),
    }
    about = trajectories.attributes
    numbers = {**_by_name("observation", observations, about), **_by_name("action", actions, about)}
    rows |= numbers
    rows |= {f"[{name}]": value for name, value in about.items() if not (numbers and name in LABELS)}
    if task is not None:
        rows |= _in_task(read_task(task).task, task, float(returns.mean()), actions)
    width = max(len(name) for name in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows.items())


def _in_task(
    task: Task,
    name: str,
    mean_return: float,
    actions: NDArray[np.float32],  # [steps, action_dim]
) -> dict[str, str]:
    reference = task.reference_returns
    score = "-" if reference is None else f"{reference.normalized_score(mean_return):.2f}"
    rows = {"mean normalized score": f"{score} ({name})"}
    low, high = (np.array(bound or (), np.float32) for bound in (task.action_low, task.action_high))
    if low.shape == high.shape == actions.shape[1:]:
        within = np.clip(actions, low, high)
        outside = (actions != within).any(axis=1).mean()
        rows["out of bounds"] = f"{100 * outside:.3g} % of the actions, which the policy will not repeat"
    return rows


def _quantiles(values: NDArray[np.float64]) -> str:
    names = ("min", "25 %", "median", "75 %", "90 %", "max")
    numbers = np.quantile(values, QUANTILES)
    return ", ".join(f"{name} {value:.5g}" for name, value in zip(names, numbers, strict=True))


def _extent(
    values: NDArray[np.float32],  # [steps, ...]
) -> str:
    return f"shape {list(values.shape[1:])}, from {values.min():.5g} to {values.max():.5g}"


def _by_name(
    kind: str,
    values: NDArray[np.float32],  # [steps, ...]
    attributes: Mapping[str, str],
) -> dict[str, str]:
    """One row for each number of an observation or an action, where the source names them."""
    names, units = (json.loads(attributes.get(label, "{}")).get(f"{kind}s") for label in LABELS)
    flat = values.reshape(len(values), -1)  # [steps, size]
    if names is None or len(names) != flat.shape[1]:
        return {}
    counted = [f" {unit}" for unit in units] if units is not None else [""] * len(names)
    return {
        f"{kind} {name}": _range(column) + unit for name, column, unit in zip(names, flat.T, counted, strict=True)
    }


def _range(
    values: NDArray[np.float32],  # [steps]
) -> str:
    least, greatest = values.min(), values.max()
    return f"always {least:.5g}" if least == greatest else f"from {least:.5g} to {greatest:.5g}"
