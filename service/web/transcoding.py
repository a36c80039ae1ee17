"""Transcoding: msgpack for what FastAPI reads and answers as JSON; starts and ends are rare enough for a detour."""

from __future__ import annotations

import json

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope, Send

from lamo import packing
from lamo.errors import InvalidRequest, MalformedRequest
from service.web.bodies import JSON, unpacked

VECTORS = ("observation", "executed_action", "action")
"""The fields of `lamo.wire`'s requests that may be arrays."""


def with_json_body(scope: Scope, body: bytes) -> tuple[Scope, bytes]:
    """The request that a msgpack body is, as if it had come as JSON.

    Raises:
        MalformedRequest: the body is not msgpack, or holds what JSON has no word for.
        InvalidRequest: an array in it is not what it says.
    """
    try:
        transcoded = json.dumps(_with_lists(unpacked(body))).encode()
    except (TypeError, RecursionError) as error:
        raise MalformedRequest(f"the body cannot be used: {error}") from error
    except ValueError as error:
        raise InvalidRequest(f"an array in the body cannot be used: {error}") from error
    headers = [header for header in scope["headers"] if header[0] not in (b"content-type", b"content-length")]
    headers += [(b"content-type", JSON.encode()), (b"content-length", str(len(transcoded)).encode())]
    return {**scope, "headers": headers}, transcoded


class Packed:
    """A `send` that turns a JSON answer into msgpack, and lets every other one, problems among them, pass."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._chunks: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Send one message of an answer, or keep it until the answer is whole."""
        if message["type"] == "http.response.start" and _is_json(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._finish(self._start, packing.pack(json.loads(b"".join(self._chunks))))

    async def _finish(self, start: Message, body: bytes) -> None:
        headers = MutableHeaders(scope=start)
        headers["content-type"], headers["content-length"] = packing.MEDIA_TYPE, str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _is_json(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type") == JSON


def _with_lists(message: object, field: object = None) -> object:
    """The message with its vectors as lists; a label called `dtype` makes no array of the labels."""
    if field in VECTORS and packing.is_array(message):
        return packing.array_of(message).tolist()
    if isinstance(message, dict):
        return {name: _with_lists(value, name) for name, value in message.items()}
    if isinstance(message, list):
        return [_with_lists(value) for value in message]
    return message
