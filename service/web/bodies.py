"""Bodies: requests read from JSON or msgpack into their models, and answers written as the client wants them."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from lamo import packing
from lamo.errors import InvalidRequest, MalformedRequest, ServiceError, UnsupportedMediaType
from lamo.wire import MAX_ITEMS, ActAnswer, ActItem, ActTogetherAnswer, Request
from service.web.arrival import Arrival
from service.web.problems import refusal

JSON = "application/json"

MAX_QUOTED = 64
"""Of a client's words that are said back to it."""

RequestT = TypeVar("RequestT", bound=Request)


class _Items(Request):
    """`ActTogetherRequest` with its items unread, so that a bad one refuses itself alone."""

    items: Annotated[list[Any], Field(max_length=MAX_ITEMS)]


def check_media_type(arrival: Arrival) -> None:
    """Refuse a body that is neither JSON nor msgpack.

    Raises:
        UnsupportedMediaType: naming what it is.
    """
    if arrival.content_type not in (JSON, packing.MEDIA_TYPE):
        raise UnsupportedMediaType(
            f"content type {arrival.content_type[:MAX_QUOTED]!r} is not read here; "
            f"send {JSON} or {packing.MEDIA_TYPE}"
        )


def check_encoding(arrival: Arrival) -> None:
    """Refuse a compressed body: what it would become is not known before it is there.

    Raises:
        UnsupportedMediaType: naming how it is compressed.
    """
    if arrival.content_encoding not in ("", "identity"):
        raise UnsupportedMediaType(
            f"content encoding {arrival.content_encoding[:MAX_QUOTED]!r} is not read here; send the body as it is"
        )


def read(model: type[RequestT], arrival: Arrival, body: bytes) -> RequestT:
    """The request that a body is.

    Raises:
        MalformedRequest: it is not of its media type.
        InvalidRequest: naming the field that is unknown, missing or cannot be used.
    """
    try:
        if arrival.content_type == packing.MEDIA_TYPE:
            return model.model_validate(unpacked(body))
        return model.model_validate_json(body)
    except ValidationError as failure:
        raise refusal(failure) from failure


def read_items(arrival: Arrival, body: bytes) -> list[ActItem | ServiceError]:
    """The items of a request for several episodes; one that cannot be used is told why, by its index.

    Raises:
        MalformedRequest: the body is not of its media type.
        InvalidRequest: there is no list of items, or it is too long.
    """
    return [_item(index, item) for index, item in enumerate(read(_Items, arrival, body).items)]


def unpacked(body: bytes) -> object:
    """The msgpack message that a body is.

    Raises:
        MalformedRequest: it is none.
    """
    try:
        return packing.unpack(body)
    except ValueError as error:
        raise MalformedRequest(str(error)) from error


def wants_msgpack(arrival: Arrival) -> bool:
    """Whether to answer in msgpack: asked for by name, or sent by a client that takes anything."""
    if packing.MEDIA_TYPE in arrival.accept:
        return True
    anything = not arrival.accept or "*/*" in arrival.accept or "application/*" in arrival.accept
    return anything and arrival.content_type == packing.MEDIA_TYPE


def written(answer: ActAnswer | ActTogetherAnswer, arrival: Arrival) -> tuple[bytes, str]:
    """An answer's body and media type."""
    if not wants_msgpack(arrival):
        return type(answer).__pydantic_serializer__.to_json(answer, exclude_none=True), JSON
    if isinstance(answer, ActAnswer):
        return packing.pack(_with_array(answer)), packing.MEDIA_TYPE
    items = [
        {"status": item.status, "body": _with_array(item.body) if item.status == 200 else _plain(item.body)}
        for item in answer.items
    ]
    return packing.pack({"items": items}), packing.MEDIA_TYPE


def _item(index: int, item: object) -> ActItem | ServiceError:
    try:
        return ActItem.model_validate(item)
    except ValidationError as failure:
        return InvalidRequest(f"item {index}: {refusal(failure).detail}")


def _with_array(answer: BaseModel) -> dict[str, Any]:
    fields = answer.model_dump()
    fields["action"] = np.array(fields["action"], np.float32)
    return fields


def _plain(problem: BaseModel) -> dict[str, Any]:
    return problem.model_dump(exclude_none=True)
