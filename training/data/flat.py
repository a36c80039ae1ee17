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
from training.data.trajectories import Trajectories, Trajectory

KEYS = ("observations", "actions", "rewards", "terminals", "timeouts")
_FLAT_KEYS = KEYS[2:]

Arrays = Mapping[str, NDArray[np.generic]]


def split(arrays: Arrays, source: str, time_limit: int | None = None) -> tuple[Trajectory, ...]:
    """Cut the arrays after every step on which `terminals | timeouts` is set, the flags as recorded.

    Steps after the last flag are an episode that the recording cut off: they are kept, as a truncated
    trajectory. D4RL's first files, Kitchen's among them, lack `timeouts`: they are cut `time_limit` steps after
    each episode's first, as D4RL means to (its own splitter miscounts from the second episode on). Where no
    limit is known `timeouts` is required: a time-limited episode would be joined to the next one, whose rewards
    would flow into its returns-to-go.

    Args:
        arrays: observations [N, *shape], actions [N, action_dim], rewards, terminals and timeouts [N] or
            [N, 1]; further keys are ignored.
        source: the file, for the error's sentence.
        time_limit: most steps of an episode, used only where `timeouts` is missing.

    Raises:
        DatasetError: an array is missing, not numeric, not finite, empty, or does not fit the others.
    """
    arrays = {key: _column(array) if key in _FLAT_KEYS else array for key, array in arrays.items()}
    if time_limit is not None and "timeouts" not in arrays and "terminals" in arrays:
        arrays["timeouts"] = _timeouts(arrays["terminals"], time_limit)
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


def _column(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Some of D4RL's files keep rewards and flags as [N, 1]."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _timeouts(
    terminals: NDArray[np.generic],  # [N]
    time_limit: int,
) -> NDArray[np.generic]:
    """True on every step that is the `time_limit`-th since its episode began."""
    starts = np.concatenate([[0], np.flatnonzero(terminals[:-1]) + 1])
    steps = np.arange(len(terminals))
    begun = starts[np.searchsorted(starts, steps, side="right") - 1]
    timeouts: NDArray[np.bool_] = (steps - begun) % time_limit == time_limit - 1
    return timeouts


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
