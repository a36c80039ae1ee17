"""Reads the pickles of the Decision Transformer and LaMo repositories: lists of trajectories as dicts of arrays.

Keys: `observations`, `actions`, `rewards`, `terminals`, perhaps `timeouts`; `next_observations` and others are
left alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamo.errors import DatasetError
from training.data import array_pickle, flat
from training.data.fingerprint import sha256_of
from training.data.inflation import refuse_inflated
from training.data.trajectories import Trajectories, Trajectory

_REQUIRED = ("observations", "actions", "rewards", "terminals")


def read(path: Path) -> Trajectories:
    """The data set in `path`, one trajectory for each dict of the list.

    Raises:
        DatasetError: the file is missing, no pickle of arrays, holds no list of such dicts, a dict whose episode
            ends before its arrays do, or what `flat.split` refuses.
    """
    if not path.is_file():
        raise DatasetError(f"there is no data file {path}")
    content = array_pickle.load(path)
    if not (isinstance(content, list) and content and all(isinstance(item, dict) for item in content)):
        raise DatasetError(f"{path} holds no list of trajectories, each a dict of arrays")
    # A pickle may name one array a million times: what it says it holds is what would be copied.
    refuse_inflated(sum(_bytes(item) for item in content), path)
    trajectories = tuple(_trajectory(item, f"{path}, trajectory {index}") for index, item in enumerate(content))
    _refuse_other_shapes(trajectories, path)
    return Trajectories(trajectories, path.stem, str(path), sha256_of(path))


def _bytes(content: dict[object, object]) -> int:
    return sum(value.nbytes for key, value in content.items() if key in flat.KEYS and isinstance(value, np.ndarray))


def _trajectory(content: dict[object, object], source: str) -> Trajectory:
    arrays: dict[str, NDArray[np.generic]] = {}
    for key, value in content.items():
        if key in flat.KEYS:
            if not isinstance(value, np.ndarray):
                raise DatasetError(f"{source}: {key} is a {type(value).__name__}, not an array")
            arrays[str(key)] = value
    missing = [key for key in _REQUIRED if key not in arrays]
    if missing:
        raise DatasetError(f"{source} has no array {missing[0]!r}; it has {', '.join(map(str, content)) or 'none'}")
    if "timeouts" not in arrays:
        # The list itself says where episodes end.
        arrays["timeouts"] = np.zeros(arrays["terminals"].shape, dtype=bool)
    pieces = flat.split(arrays, source)
    if len(pieces) > 1:
        raise DatasetError(f"{source} ends at step {len(pieces[0]) - 1}, and has steps after it")
    return pieces[0]


def _refuse_other_shapes(trajectories: tuple[Trajectory, ...], path: Path) -> None:
    first = trajectories[0]
    for index, trajectory in enumerate(trajectories):
        for key in ("observations", "actions"):
            here, there = getattr(first, key).shape[1:], getattr(trajectory, key).shape[1:]
            if here != there:
                raise DatasetError(
                    f"{path}: {key} have shape {list(here)} in trajectory 0 and {list(there)} in {index}"
                )
