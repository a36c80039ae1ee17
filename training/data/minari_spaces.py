"""Minari's spaces as it writes them down, and what an episode holds of one as rows of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamo.errors import DatasetError

Layout = Mapping[str, Any]
"""{"type": "Box", "shape": [...]}, {"type": "Dict", "subspaces": {key: Layout}}, a Tuple with a list of them."""

Path = tuple[str | int, ...]
"""The keys that lead to a box inside a space."""


def flattened(layout: Layout, values: Any, steps: int, source: str) -> NDArray[np.float32]:
    """The first `steps` of an episode's values: [steps, *shape] of a box, [steps, numbers] of a dict or tuple.

    Raises:
        DatasetError: the space holds anything beside boxes; `source` begins the sentence.
    """
    parts = [
        np.asarray(_at(values, path))[:steps].astype(np.float32) for path, _ in _leaves(layout, source)
    ]  # [steps, *shape] each
    if layout["type"] == "Box":
        return parts[0]
    return np.concatenate([part.reshape(steps, -1) for part in parts], axis=1)


def names_of(layout: Layout) -> list[str]:
    """Names of the numbers of a flattened space after its keys; none for a plain box."""
    if layout["type"] == "Box":
        return []
    names: list[str] = []
    for path, size in _leaves(layout, ""):
        stem = "_".join(map(str, path))
        names += [stem] if size == 1 else [f"{stem}_{index}" for index in range(size)]
    return names


def _leaves(layout: Layout, source: str, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Where each box is inside the space, in the order of flattening, and how many numbers it holds."""
    subspaces = layout.get("subspaces")
    if layout["type"] == "Box":
        yield path, int(np.prod(layout["shape"], dtype=int))
    elif layout["type"] in ("Dict", "Tuple") and subspaces:
        for key, inner in subspaces.items() if isinstance(subspaces, dict) else enumerate(subspaces):
            yield from _leaves(inner, source, (*path, key))
    else:
        where = f" in {'.'.join(map(str, path))}" if path else ""
        raise DatasetError(f"{source} hold a {layout['type']} space{where}; only boxes of numbers are learned from")


def _at(values: Any, path: Path) -> Any:
    for key in path:
        values = values[key]
    return values
