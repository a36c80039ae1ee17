"""Intake: what happens to every request before it is parsed: an id, a clock, and limits on its body."""

from __future__ import annotations

import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamo.errors import BodyTooLarge, UnsupportedMediaType
from service.problems import Problems

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Intake:
    """ASGI middleware, outermost of ours: nothing that goes wrong further in leaves without a problem document."""

    def __init__(self, app: ASGIApp, problems: Problems, max_body_bytes: int) -> None:
        self._app = app
        self._problems = problems
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent_id = headers.get("x-request-id", "")
        request_id = sent_id if _REQUEST_ID.fullmatch(sent_id) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"], state["received_at"] = request_id, time.monotonic()
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            body = await self._body(headers, receive)
            if body is not None:
                await self._app(scope, _replay(body, receive), send_with_id)
        except Exception as failure:
            if started:
                raise
            await self._problems.response(request_id, failure)(scope, receive, send_with_id)

    async def _body(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body, None if the client left before its end.

        A body too large is refused before it is parsed and, where its length was announced, before it is read.
        """
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large(f"{length} bytes")
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._max_body_bytes:
                raise self._too_large(f"more than {self._max_body_bytes} bytes")
            more = message.get("more_body", False)
        if size:
            _check_media_type(headers.get("content-type", ""))
        return b"".join(chunks)

    def _too_large(self, size: str) -> BodyTooLarge:
        return BodyTooLarge(f"the body has {size}, at most {self._max_body_bytes} are taken")


def _check_media_type(content_type: str) -> None:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"content type {media_type!r} is not read here; send application/json")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body again, then whatever comes after it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
