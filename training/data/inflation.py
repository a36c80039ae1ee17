"""Inflation: how much larger than its file a data set may be once it is read."""

from __future__ import annotations

from pathlib import Path

from lamo.errors import DatasetError

HARMLESS_BYTES = 2**30
"""Below this no file is refused: flags alone compress a thousand times."""

MOST_INFLATION = 100
"""Recordings of floats compress a few times; a file that becomes a hundred times its size was made to."""


def refuse_inflated(
    declared: int,  # bytes that the arrays will take
    path: Path,
) -> None:
    """Refuse, before anything is allocated, a small file that says it holds far more than it can.

    Raises:
        DatasetError: naming both sizes.
    """
    size = path.stat().st_size
    if declared > HARMLESS_BYTES and declared > MOST_INFLATION * size:
        raise DatasetError(
            f"{path} ({size} bytes) says it holds {declared} bytes of arrays, "
            f"more than {MOST_INFLATION} times its size"
        )
