"""Packing: messages as msgpack on both sides, with arrays as `{dtype, shape, data}` of raw little-endian numbers.

What comes from a stranger is bounded before it is allocated: nothing is longer than the message it stands in, data
is exactly as long as its shape says, and there are no extension types, no timestamps and no pickles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import msgpack
import numpy as np
from numpy.typing import NDArray

MEDIA_TYPE = "application/msgpack"

DTYPES = ("<f4", "<f8", "|u1", "<i4", "<i8")

MAX_DIMENSIONS = 8

Numbers = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]

_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(name) for name in DTYPES}
_FIELDS = frozenset(("dtype", "shape", "data"))


def pack(message: object) -> bytes:
    """The message as msgpack; arrays in it as `{dtype, shape, data}`.

    Raises:
        TypeError: an array of another dtype than `DTYPES`, or a value that msgpack has no type for.
    """
    packed: bytes = msgpack.packb(message, default=_packed)
    return packed


def unpack(data: bytes) -> object:
    """The message that these bytes are; arrays in it stay the mappings that `array_of` reads.

    Raises:
        ValueError: they are no msgpack message, more than one, nested too deeply, or hold an extension type.
    """
    try:
        return msgpack.unpackb(data, ext_hook=_refuse_extension, max_ext_len=0, timestamp=0)
    except (msgpack.UnpackException, ValueError, RecursionError) as error:
        raise ValueError(f"the body is not msgpack: {_reason(error)}") from error


def is_array(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value of an unpacked message stands for an array."""
    return isinstance(value, dict) and value.keys() == _FIELDS


def array_of(packed: Mapping[str, Any]) -> Numbers:
    """The array that a mapping with the fields `dtype`, `shape` and `data` stands for; it cannot be written to.

    Raises:
        ValueError: naming the field that cannot be used, with its numbers.
    """
    name, shape, data = packed["dtype"], packed["shape"], packed["data"]
    dtype = _DTYPES.get(name) if isinstance(name, str) else None
    if dtype is None:
        raise ValueError(f"dtype is {name!r}, one of {', '.join(DTYPES)} is taken")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_DIMENSIONS
        or not all(_is_length(length) for length in shape)
    ):
        raise ValueError(f"shape is not a list of at most {MAX_DIMENSIONS} lengths")
    if not isinstance(data, bytes):
        raise ValueError("data is not binary")
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ValueError(f"data has {len(data)} bytes, shape {shape} of {name} takes {expected}")
    array: Numbers = np.frombuffer(data, dtype)
    return array if len(shape) == 1 else array.reshape(shape)


def _packed(value: object) -> dict[str, object]:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{type(value).__name__} cannot be sent as msgpack")
    dtype = value.dtype.newbyteorder("<").str
    if dtype not in DTYPES:
        raise TypeError(f"an array of {value.dtype} cannot be sent as msgpack: one of {', '.join(DTYPES)} can")
    return {"dtype": dtype, "shape": list(value.shape), "data": value.astype(dtype, copy=False).tobytes()}


def _is_length(value: object) -> bool:
    return type(value) is int and value >= 0


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code} is not taken")


def _reason(error: Exception) -> str:
    words = str(error) or type(error).__name__
    return "it is nested too deeply" if isinstance(error, (msgpack.StackError, RecursionError)) else words
