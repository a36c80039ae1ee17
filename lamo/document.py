"""Document: a small JSON file with one meaning; what could be read in two ways, or is huge, is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from lamo.errors import CheckpointError

MAX_BYTES = 16 * 2**20
"""The statistics of an observation of a hundred thousand numbers take four of them."""


def read(path: Path) -> Mapping[str, Any]:
    """The object that a file holds.

    Raises:
        CheckpointError: the file is too large, no JSON, nested too deeply, no object, says a name twice, or holds
            a number that JSON does not have.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise CheckpointError(f"{path} has {size} bytes, at most {MAX_BYTES} are read")
    try:
        document = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds a {type(document).__name__}, not an object")
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it says {next(name for name in names if names.count(name) > 1)!r} twice")
    return document


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")
