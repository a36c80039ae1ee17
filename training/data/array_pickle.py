"""Unpickles numpy arrays, numbers and plain containers, and nothing else: no name in a file is ever called.

A pickle is a program. What the files of Decision Transformer and its successors call is on the list here, under
the names of numpy 1 and 2 and of every protocol; each name stands for a function of this module that makes the
same value from checked parts. Anything else, numpy's other functions included, is refused before it is looked up.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lamo.errors import DatasetError

NUMBERS = "biuf"

SPARE_NUMBERS = 1_000_000
"""Room for 16 MB: a pickler numbers objects from 0, but nothing says that it must."""

# What a program of well-formed opcodes with senseless operands raises, beside UnpicklingError.
UNREADABLE = (
    *(pickle.UnpicklingError, EOFError, OSError, MemoryError, ImportError, AttributeError),
    *(TypeError, ValueError, KeyError, IndexError, OverflowError, RecursionError),
)


def load(path: Path) -> object:
    """What the pickle holds, its arrays as numpy arrays of numbers.

    Raises:
        DatasetError: it names anything beside numpy arrays, or is no pickle.
    """
    try:
        with path.open("rb") as file:
            _refuse_memo_bombs(file)
            file.seek(0)
            content = _ArrayUnpickler(file).load()
        return _finished(content, {})
    except UNREADABLE as error:
        raise DatasetError(f"{path} cannot be read as a pickle of arrays: {error}") from error


def _refuse_memo_bombs(file: BinaryIO) -> None:
    """Refuse numbers that no pickler gives: the unpickler makes room for as many objects as the highest says."""
    for count, (opcode, number, _) in enumerate(pickletools.genops(file)):
        if opcode.name in ("PUT", "LONG_BINPUT") and int(number or 0) > count + SPARE_NUMBERS:
            raise pickle.UnpicklingError(f"its object number {number} is one of at most {count}")


class _Number:
    """A dtype of numbers in the making: its state must be that of a plain one."""

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        dtype = np.dtype(name) if isinstance(name, str) else None
        if dtype is None or dtype.kind not in NUMBERS:
            raise pickle.UnpicklingError(f"it holds arrays of {name!r}, not of numbers")
        self.dtype = dtype

    def __setstate__(self, state: tuple[object, ...]) -> None:
        _version, order, *structure = state
        if structure != [None, None, None, -1, -1, 0] or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("it holds arrays of records, not of numbers")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array in the making; `values` is the array once its state has come."""

    values: NDArray[np.generic]

    def __init__(self, _subtype: object, _shape: object, _typecode: object) -> None:
        """Made empty, as numpy pickles it."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Number, bool, bytes]) -> None:
        _version, shape, number, fortran, content = state
        self.values = _from_bytes(content, number, shape, "F" if fortran else "C")


class _Ndarray:
    """Stands for the name `numpy.ndarray`, which is only ever handed on."""


def _from_buffer(
    content: bytes, number: _Number, shape: tuple[int, ...], order: str, axis_order: Sequence[int] | None = None
) -> NDArray[np.generic]:
    if order == "K" and axis_order is not None:
        return _from_bytes(content, number, shape, "C").transpose(axis_order)
    return _from_bytes(content, number, shape, order)


def _scalar(number: _Number, content: bytes) -> np.generic:
    scalar: np.generic = _from_bytes(content, number, (1,), "C")[0]
    return scalar


def _from_bytes(content: bytes, number: _Number, shape: tuple[int, ...], order: str) -> NDArray[np.generic]:
    if not isinstance(number, _Number) or not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("it holds an array that is not made of a type and bytes")
    flat = np.frombuffer(content, number.dtype)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _latin1(text: str, encoding: str) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes written as {encoding!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How they write none."""
    return b""


_ADMITTED: MappingProxyType[tuple[str, str], Callable[..., object]] = MappingProxyType(
    {
        ("numpy", "dtype"): _Number,
        ("numpy", "ndarray"): _Ndarray,
        ("_codecs", "encode"): _latin1,
        ("builtins", "bytes"): _no_bytes,
        ("__builtin__", "bytes"): _no_bytes,
        **{
            (f"numpy.{core}.{module}", name): stand_in
            for core in ("core", "_core")
            for module, name, stand_in in (
                ("multiarray", "_reconstruct", _Array),
                ("multiarray", "scalar", _scalar),
                ("numeric", "_frombuffer", _from_buffer),
            )
        },
    }
)


class _Maker:
    """What the pickle gets for a name: callable, and nothing else can be done with it or to it."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *parts: object) -> object:
        return self._make(*parts)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes what it was given")


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> _Maker:
        if (module_name, global_name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}; only numpy arrays are admitted")
        return _Maker(_ADMITTED[module_name, global_name])


def _finished(value: object, done: dict[int, object]) -> object:
    """The value with every `_Array` in its lists, tuples and dicts replaced by the array.

    `done` has what an object became, by `id`: one that is held many times is finished once.
    """
    if id(value) not in done:
        if isinstance(value, _Array):
            done[id(value)] = value.values
        elif isinstance(value, list | tuple):
            done[id(value)] = [_finished(item, done) for item in value]
        elif isinstance(value, dict):
            done[id(value)] = {key: _finished(item, done) for key, item in value.items()}
        else:
            return value
    return done[id(value)]
