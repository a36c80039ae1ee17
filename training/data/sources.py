"""Data by name: D4RL and Minari sets by their ids, and files of every kind that is read here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError, DatasetError
from training.data import d4rl, hdf5, minari_sets, npz, pickles, tabular
from training.data.tabular import Columns
from training.data.trajectories import Trajectories

D4RL_PREFIX, MINARI_PREFIX = "d4rl:", "minari:"
TABLE_SUFFIXES = (".csv", ".parquet")


def _read_hdf5(path: Path) -> Trajectories:
    return hdf5.read(path, d4rl.time_limit(path.name))


_READERS: MappingProxyType[str, Callable[[Path], Trajectories]] = MappingProxyType(
    {
        ".hdf5": _read_hdf5,
        ".h5": _read_hdf5,
        ".npz": npz.read,
        ".pkl": pickles.read,
        ".pickle": pickles.read,
    }
)


def read(name: str | Path, columns: Columns | None = None) -> Trajectories:
    """The data set of that name.

    Args:
        name: `d4rl:ID` (downloaded where it is not in D4RL's cache folder), `minari:ID` of a set in Minari's
            folder, or a file ending in .hdf5, .h5, .npz, .pkl, .pickle, .csv or .parquet.
        columns: which column of a .csv or .parquet file is what; None: the conventional names.

    Raises:
        ConfigError: no such D4RL or Minari set, or columns of a file that has none.
        DatasetError: no such kind of data, or what its reader refuses.
    """
    name = str(name)
    suffix = Path(name).suffix
    tabular_file = suffix in TABLE_SUFFIXES and not name.startswith((D4RL_PREFIX, MINARI_PREFIX))
    if columns is not None and columns.given and not tabular_file:
        raise ConfigError(f"columns are named for {name}, and only .csv and .parquet files have them")
    if name.startswith(D4RL_PREFIX):
        return d4rl.read(name.removeprefix(D4RL_PREFIX))
    if name.startswith(MINARI_PREFIX):
        return minari_sets.read(name.removeprefix(MINARI_PREFIX))
    if tabular_file:
        return tabular.read(Path(name), columns)
    if suffix in _READERS:
        return _READERS[suffix](Path(name))
    raise DatasetError(
        f"{name} is no kind of data that is read here: d4rl:ID, minari:ID, or a file ending in "
        f"{', '.join((*_READERS, *TABLE_SUFFIXES))}"
    )


def known() -> list[str]:
    """The names of the sets that `read` takes by id: D4RL's, and the Minari sets that are here.

    Raises:
        ConfigError: the `d4rl` package is not installed.
    """
    minari_names = [MINARI_PREFIX + name for name in minari_sets.local_ids()]
    return [D4RL_PREFIX + name for name in d4rl.known_ids()] + minari_names


def read_indices(path: Path) -> NDArray[np.int64]:
    """The trajectory indices in a JSON file: a list, or an object with it as `episodes` or `trajectories`.

    `Trajectories.subset` refuses those outside the data set.

    Raises:
        ConfigError: the file cannot be read, or holds no such list of different whole numbers from 0.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"trajectory indices cannot be read from {path}: {error}") from error
    if isinstance(content, dict):
        content = content.get("episodes", content.get("trajectories"))
    if not (isinstance(content, list) and content and all(type(index) is int and index >= 0 for index in content)):
        raise ConfigError(f"{path} holds no list of trajectory indices, plain or as `episodes` or `trajectories`")
    if len(set(content)) < len(content):
        raise ConfigError(f"{path} names a trajectory more than once")
    return np.array(content, dtype=np.int64)
