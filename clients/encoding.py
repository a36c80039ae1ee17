"""Encoding: how a client writes requests, as JSON or as msgpack with raw arrays, and reads answers in either."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

from lamo import packing
from lamo.errors import InvalidRequest
from lamo.wire import Request

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Encoding(StrEnum):
    """What requests are written in; the service answers in the same."""

    JSON = "json"
    MSGPACK = "msgpack"

    @property
    def media_type(self) -> str:
        """What the header `Content-Type` says."""
        return packing.MEDIA_TYPE if self is Encoding.MSGPACK else "application/json"

    def write(self, message: Request) -> bytes:
        """A request's body; fields that were not given are left out.

        JSON has a float in the fewest digits that read back as the same float64, so a float32 arrives bit for
        bit as it was.

        Raises:
            InvalidRequest: JSON carries vectors only, not an array of more dimensions.
        """
        return packing.pack(_given(message)) if self is Encoding.MSGPACK else to_json(_given(message, lists=True))


def decode(model: type[AnswerT], headers: Mapping[str, str], content: bytes) -> AnswerT:
    """The answer that a body is.

    Raises:
        ValueError: it is not what the contract says; a pydantic ValidationError names the field.
    """
    if headers.get("content-type", "").startswith(packing.MEDIA_TYPE):
        return model.model_validate(packing.unpack(content))
    return model.model_validate_json(content)


def _given(message: Request, *, lists: bool = False) -> dict[str, Any]:
    given = message.model_fields_set
    names = [name for name in type(message).model_fields if name in given]
    return {name: _plain(name, getattr(message, name), lists=lists) for name in names}


def _plain(name: str, value: object, *, lists: bool) -> object:
    if lists and isinstance(value, np.ndarray):
        if value.ndim > 1:
            raise InvalidRequest(f"{name} has shape {list(value.shape)}, JSON carries vectors only: use msgpack")
        return value.tolist()
    if isinstance(value, list) and value and isinstance(value[0], Request):
        return [_given(item, lists=lists) for item in value]
    return value
