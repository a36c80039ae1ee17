"""The examples of docs/wire: one file per exchange, with the message in JSON and its bytes in msgpack."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from lamo import packing

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "wire"

VECTORS = ("observation", "executed_action", "action")
"""Fields that are arrays in msgpack."""

_SHORT_LIST = re.compile(r"\[\n\s+([^\[\]{}]*?)\s+\]")
"""Of numbers or names: it fits on a line."""


@dataclass
class Message:
    """A request or an answer.

    Attributes:
        body: the message, None where there is none.
        text: what stands there instead of JSON.
        packed: the same message in msgpack.
    """

    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    text: str | None = None
    packed: bytes | None = None

    @property
    def json(self) -> bytes:
        """The body in JSON, with nothing between its parts."""
        if self.text is not None:
            return self.text.encode()
        return b"" if self.body is None else json.dumps(self.body, separators=(",", ":")).encode()

    def lines(self) -> dict[str, Any]:
        """This part of a file."""
        told: dict[str, Any] = {"headers": self.headers}
        if self.text is not None:
            told["text"] = self.text
        if self.body is not None:
            told["body"] = self.body
        if self.packed is not None:
            told["msgpack"] = self.packed.hex()
        return told

    @classmethod
    def of(cls, told: dict[str, Any]) -> Message:
        packed = bytes.fromhex(told["msgpack"]) if "msgpack" in told else None
        return cls(told["headers"], told.get("body"), told.get("text"), packed)


@dataclass
class Example:
    """One exchange: a file `<name>.json`."""

    name: str
    what: str
    method: str
    path: str
    request: Message
    status: int
    answer: Message

    def write(self) -> None:
        told = {
            "what": self.what,
            "request": {"method": self.method, "path": self.path} | self.request.lines(),
            "answer": {"status": self.status} | self.answer.lines(),
        }
        lines = _SHORT_LIST.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(told, indent=2))
        (FOLDER / f"{self.name}.json").write_text(lines + "\n", encoding="utf-8")


def read_example(name: str) -> Example:
    told = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    request, answer = told["request"], told["answer"]
    messages = Message.of(request), Message.of(answer)
    return Example(
        name, told["what"], request["method"], request["path"], messages[0], answer["status"], messages[1]
    )


def all_examples() -> list[Example]:
    return [read_example(path.stem) for path in sorted(FOLDER.glob("*.json"))]


def with_arrays(message: Any, name: str = "") -> Any:
    """The message with its vectors as arrays of float32."""
    if isinstance(message, dict):
        return {key: with_arrays(value, key) for key, value in message.items()}
    if isinstance(message, list):
        is_vector = name in VECTORS and all(isinstance(number, float) for number in message)
        return np.array(message, np.float32) if is_vector else [with_arrays(part) for part in message]
    return message


def pack(body: Any) -> bytes:
    return packing.pack(with_arrays(body))


def unpack(packed: bytes) -> Any:
    """The message, with arrays as their type, their shape and their numbers."""
    return _with_numbers(msgpack.unpackb(packed))


def _with_numbers(message: Any) -> Any:
    if packing.is_array(message):
        return {"dtype": message["dtype"], "shape": message["shape"], "of": packing.array_of(message).tolist()}
    if isinstance(message, dict):
        return {key: _with_numbers(value) for key, value in message.items()}
    return [_with_numbers(part) for part in message] if isinstance(message, list) else message


def close(message: Any) -> Any:
    """What is the same message where floats differ in their last digits, as between two machines."""
    if isinstance(message, dict):
        return {key: close(value) for key, value in message.items()}
    if isinstance(message, list):
        return [close(part) for part in message]
    return pytest.approx(message, rel=1e-4, abs=1e-5) if isinstance(message, float) else message
