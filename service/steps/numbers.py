"""Numbers: what messages give as numbers, finite and in float32, or one sentence that says which is not."""

from __future__ import annotations

import math
from array import array

import numpy as np
from numpy.typing import NDArray

from lamo.errors import InvalidRequest
from lamo.packing import Numbers

_LARGEST = float(np.finfo(np.float32).max)


def computable(value: float, return_scale: float) -> bool:
    """Whether a raw return is finite and stays so in float32, the way the policy sees it."""
    return math.isfinite(value) and abs(value / return_scale) <= _LARGEST


def number(name: str, value: float | None) -> float | None:
    """A finite number, or None.

    Raises:
        InvalidRequest: it is not finite.
    """
    if value is not None and not math.isfinite(value):
        raise InvalidRequest(f"{name} is {value}, not a finite number")
    return value


def optional_vector(name: str, values: list[float] | Numbers | None) -> NDArray[np.float32] | None:
    """See `vector`; None stays None."""
    return None if values is None else vector(name, values)


def vector(name: str, values: list[float] | Numbers) -> NDArray[np.float32]:
    """The numbers in float32.

    Raises:
        InvalidRequest: one of them is not finite there.
    """
    rounded = _rounded(values)
    if not np.isfinite(rounded).all():
        wrong = tuple(np.argwhere(~np.isfinite(rounded))[0].tolist())
        index = "".join(f"[{place}]" for place in wrong)
        raise InvalidRequest(f"{name}{index} is {np.asarray(values)[wrong]}, not a finite number in float32")
    return rounded


def check_shape(name: str, vector: NDArray[np.float32] | None, shape: tuple[int, ...], policy: str) -> None:
    """Refuse numbers of another shape than the policy takes.

    Raises:
        InvalidRequest: naming both shapes.
    """
    if vector is not None and vector.shape != shape:
        raise InvalidRequest(f"{name} has shape {list(vector.shape)}, policy {policy!r} takes {list(shape)}")


def _rounded(values: list[float] | Numbers) -> NDArray[np.float32]:
    """The nearest float32 of each number, the same for a list and an array of them; beyond all of them infinity."""
    if isinstance(values, list):
        return np.frombuffer(
            array("f", values), np.float32
        )  # C's cast: numpy's takes ten times as long to be silent
    if values.dtype == np.float32:
        return values.astype(np.float32)
    with np.errstate(over="ignore"):
        return values.astype(np.float64, copy=False).astype(np.float32)  # integers by way of float64, as in JSON
