"""Reads and writes data sets as HDF5 files in D4RL's flat layout (`training.data.flat`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lamo.errors import DatasetError
from training.data import flat
from training.data.fingerprint import sha256_of
from training.data.inflation import refuse_inflated
from training.data.trajectories import Trajectories

NUMBERS = "biuf"


def read(path: Path, time_limit: int | None = None) -> Trajectories:
    """The data set in `path`; only the five arrays are read, `infos/...` and the like stay on disk.

    Args:
        path: the file.
        time_limit: where a file without `timeouts` is cut (see `flat.split`).

    Raises:
        DatasetError: the file is missing, no HDF5, truncated, not in the layout (see `flat.split`), leads to other
            files, or says that it holds far more than it can.
    """
    if not path.is_file():
        raise DatasetError(f"there is no data file {path}")
    try:
        with h5py.File(path, "r") as file:
            arrays = _arrays(file, path)
            attributes = {name: str(value) for name, value in file.attrs.items()}
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        raise DatasetError(f"{path} cannot be read as HDF5: {error}") from error
    if "timeouts" not in arrays and time_limit is not None:
        attributes["timeouts"] = f"not in the file: episodes are cut after {time_limit} steps, as D4RL does"
    return Trajectories(
        trajectories=flat.split(arrays, str(path), time_limit),
        name=path.stem,
        source=str(path),
        sha256=sha256_of(path),
        attributes=attributes,
    )


def refuse_foreign(file: h5py.File, path: Path) -> None:
    """Refuse a file that leads to other files, by a link or by where it keeps an array; none of them is opened.

    Raises:
        DatasetError: naming the link or the array.
    """

    def link(name: str | bytes, kind: object) -> str | None:
        return f"{name!r} is a link to" if isinstance(kind, h5py.ExternalLink) else None

    def dataset(name: str | bytes, node: object) -> str | None:
        foreign = isinstance(node, h5py.Dataset) and (node.external or node.is_virtual)
        return f"{name!r} is kept in" if foreign else None

    found = file.visititems_links(link) or file.visititems(dataset)
    if found is not None:
        raise DatasetError(f"{path}: {found} another file")


def check(path: Path) -> None:
    """Refuse what is no whole HDF5 file; its arrays are not read.

    Raises:
        DatasetError: it is none, or cut off.
    """
    try:
        with h5py.File(path, "r") as file:
            keys = set(file)
    except (OSError, RuntimeError) as error:
        raise DatasetError(f"it cannot be opened as HDF5: {error}") from error
    if not keys >= {"observations", "actions", "rewards"}:
        raise DatasetError(f"it holds {', '.join(sorted(keys)) or 'nothing'}, no observations, actions, rewards")


def write(path: Path, trajectories: Trajectories, attributes: Mapping[str, str | int | float]) -> None:
    """Write `trajectories` to `path` in one atomic step, making its folder where needed.

    The same trajectories and attributes give the same bytes. Rewards are float64, which D4RL's readers
    take as well as float32; everything else has D4RL's types.

    Raises:
        DatasetError: the file cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(unfinished, "w") as file:
            for key, array in flat.join(trajectories).items():
                # Without a time in it the file depends on its content alone.
                file.create_dataset(key, data=array, compression="gzip", track_times=False)
            for name, value in attributes.items():
                file.attrs[name] = value
        unfinished.replace(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be written: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _arrays(file: h5py.File, path: Path) -> dict[str, NDArray[np.generic]]:
    """The five arrays; other datasets of the file stand as empty ones, so that an error can name them."""
    refuse_foreign(file, path)
    datasets = {key: node for key, node in file.items() if isinstance(node, h5py.Dataset)}
    wanted = {key: node for key, node in datasets.items() if key in flat.KEYS and node.dtype.kind in NUMBERS}
    refuse_inflated(sum(node.nbytes for node in wanted.values()), path)
    return {
        key: np.asarray(node[()]) if key in wanted else np.empty(0, node.dtype if key in flat.KEYS else None)
        for key, node in datasets.items()
    }
