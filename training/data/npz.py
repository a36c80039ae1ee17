"""Reads data sets from NumPy archives in D4RL's flat layout (`training.data.flat`), without unpickling."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from lamo.errors import DatasetError
from training.data import flat
from training.data.fingerprint import sha256_of
from training.data.inflation import refuse_inflated
from training.data.trajectories import Trajectories

UNREADABLE = (
    *(OSError, ValueError, EOFError, AttributeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),  # a broken directory, stream, or compression method
    *(SyntaxError, tokenize.TokenError),  # numpy parses an array's header as Python
)


def read(path: Path) -> Trajectories:
    """The data set in `path`; keys beside the five are ignored.

    Raises:
        DatasetError: the file is missing, no archive, holds pickled objects, is not in the layout, or says
            that it holds far more than it can.
    """
    if not path.is_file():
        raise DatasetError(f"there is no data file {path}")
    try:
        # numpy leaves a file open when it opened it itself and the archive is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            refuse_inflated(sum(member.file_size for member in archive.zip.infolist()), path)
            arrays = {key: archive[key] if key in flat.KEYS else np.empty(0) for key in archive.files}
    except UNREADABLE as error:
        raise DatasetError(f"{path} cannot be read as a NumPy archive: {error}") from error
    return Trajectories(flat.split(arrays, str(path)), path.stem, str(path), sha256_of(path))
