"""D4RL's flat layout: all episodes end to end in five arrays, split into trajectories and joined again.

The arrays are `observations actions rewards terminals timeouts` (Fu et al. 2020, arXiv 2004.07219). Row t of
each belongs to the same step; an episode's last step carries `terminals` (the environment ended it) or
`timeouts` (the time limit did).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lamo.errors import DatasetError
from training.trajectories import Trajectories, Trajectory

KEYS = ("observations", "actions", "rewards", "terminals", "timeouts")

Arrays = Mapping[str, NDArray[np.generic]]


def split(arrays: Arrays, source: str) -> tuple[Trajectory, ...]:
    """Cut the arrays after every step on which `terminals | timeouts` is set, the flags as recorded.

    Steps after the last flag are an episode that the recording cut off: they are kept, as a truncated
    trajectory. `timeouts` is required: D4RL's first files lack it, and without it a time-limited episode
    would be joined to the next one, whose rewards would flow into its returns-to-go.

    Args:
        arrays: observations [N, *shape], actions [N, action_dim], rewards, terminals and timeouts [N];
            further keys are ignored.
        source: the file, for the error's sentence.

    Raises:
        DatasetError: an array is missing, not numeric, not finite, empty, or does not fit the others.
    """
    _check_keys(arrays, source)
    _check_shapes(arrays, source)
    terminals = arrays["terminals"].astype(bool)
    last_steps = np.flatnonzero(terminals | arrays["timeouts"].astype(bool))
    observations = _finite(arrays, "observations", source).astype(np.float32)
    actions = _finite(arrays, "actions", source).astype(np.float32)
    rewards = _finite(arrays, "rewards", source).astype(np.float64)
    ends = [int(step) + 1 for step in last_steps]
    if not ends or ends[-1] < len(rewards):
        ends.append(len(rewards))
    return tuple(
        Trajectory(observations[start:end], actions[start:end], rewards[start:end], bool(terminals[end - 1]))
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    )


def join(trajectories: Trajectories) -> dict[str, NDArray[np.generic]]:
    """The five arrays of a data set; `split` gives the trajectories back unchanged."""
    last_steps = np.cumsum(trajectories.lengths) - 1
    terminated = np.array([trajectory.terminated for trajectory in trajectories])
    terminals = np.zeros(last_steps[-1] + 1, dtype=bool)
    timeouts = np.zeros_like(terminals)
    terminals[last_steps] = terminated
    timeouts[last_steps] = ~terminated
    return {
        "observations": np.concatenate([trajectory.observations for trajectory in trajectories]),
        "actions": np.concatenate([trajectory.actions for trajectory in trajectories]),
        "rewards": np.concatenate([trajectory.rewards for trajectory in trajectories]),
        "terminals": terminals,
        "timeouts": timeouts,
    }


def _check_keys(arrays: Arrays, source: str) -> None:
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        present = ", ".join(sorted(arrays)) or "none"
        raise DatasetError(f"{source} has no array {missing[0]!r}; arrays present: {present}")


def _check_shapes(arrays: Arrays, source: str) -> None:
    for key in KEYS:
        shape = list(arrays[key].shape)
        if arrays[key].dtype.kind not in "biuf":
            raise DatasetError(f"{source}: {key} is of type {arrays[key].dtype}, not numbers")
        if key == "observations" and len(shape) < 2:
            raise DatasetError(f"{source}: observations has shape {shape}, expected [steps, ...]")
        if key == "actions" and len(shape) != 2:
            raise DatasetError(
                f"{source}: actions has shape {shape}, expected [steps, action_dim] of continuous actions"
            )
        if key not in ("observations", "actions") and len(shape) != 1:
            raise DatasetError(f"{source}: {key} has shape {shape}, expected [steps]")
    lengths = {key: len(arrays[key]) for key in KEYS}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise DatasetError(f"{source}: the arrays have different numbers of steps: {counts}")
    if lengths["rewards"] == 0:
        raise DatasetError(f"{source} holds no step at all")


def _finite(arrays: Arrays, key: str, source: str) -> NDArray[np.generic]:
    rows = np.isfinite(arrays[key]).reshape(len(arrays[key]), -1)
    finite = np.asarray(rows.all(axis=1))  # [N]
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise DatasetError(f"{source}: {key} is not finite at {len(bad)} of {len(finite)} steps, first at {bad[0]}")
    return arrays[key]
