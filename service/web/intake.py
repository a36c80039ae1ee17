"""Intake: what happens to every request before it is parsed: an id, a clock, an owner, limits; and its log line."""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamo import packing
from lamo.errors import BodyTooLarge, ServiceError
from service.web.access import CLIENT_LEFT, AccessLog
from service.web.admission import Admission
from service.web.arrival import Arrival, Header
from service.web.bodies import check_encoding, check_media_type, wants_msgpack
from service.web.departure import unless_left
from service.web.hot import Hot
from service.web.problems import MEDIA_TYPE, Problems
from service.web.transcoding import Packed, with_json_body

WITH_BODY = frozenset(("POST", "PUT"))
"""Nothing else says anything in a body, so none is read there: reading one takes the event loop's time."""


class Intake:
    """The outermost ASGI application: nothing that goes wrong further in leaves without a problem document.

    Acts are answered from here, all else by `app`.
    """

    def __init__(
        self, app: ASGIApp, hot: Hot, admission: Admission, problems: Problems, max_body_bytes: int
    ) -> None:
        self._app = app
        self._hot = hot
        self._admission = admission
        self._problems = problems
        self._max_body_bytes = max_body_bytes
        self._log = AccessLog()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrival = Arrival.of(scope)
        sender = _Sender(send, arrival)
        try:
            await self._answer(scope, arrival, receive, sender)
        except Exception as failure:
            if not sender.started:
                await self._problems.response(arrival, failure)(scope, receive, sender)
            elif not sender.finished:
                raise  # else Starlette raises again what it has answered with a problem, which is in the log
        finally:
            self._log.tell(arrival, sender.status)

    def refuse(self, refusal: ServiceError, client: str | None) -> tuple[tuple[Header, ...], bytes]:
        """Log and count the refusal of a request that never came whole; its problem document, after its headers."""
        arrival = Arrival(client=client)
        document = self._problems.document(arrival, refusal)
        self._log.tell(arrival, refusal.status)
        return ((b"content-type", MEDIA_TYPE.encode()), *arrival.ids), json.dumps(document).encode()

    async def _answer(self, scope: Scope, arrival: Arrival, receive: Receive, send: Send) -> None:
        caller = self._admission.admit(arrival)
        asks = caller is not None and arrival.method in WITH_BODY
        body = await self._body(arrival, receive) if asks else b""
        if body is None:
            return
        handler = self._hot.handler(scope)
        if handler is None or caller is None:
            scope.setdefault("state", {})["caller"] = caller
            await self._pass_on(scope, arrival, body, receive, send)
            return
        reply = await unless_left(handler(scope, caller, arrival, body), receive)
        if reply is not None:
            await reply.send(send)

    async def _pass_on(self, scope: Scope, arrival: Arrival, body: bytes, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["arrival"] = arrival
        if body and arrival.content_type == packing.MEDIA_TYPE:
            scope, body = with_json_body(scope, body)
        if wants_msgpack(arrival):
            send = Packed(send)
        await self._app(scope, _replay(body, receive), send)

    async def _body(self, arrival: Arrival, receive: Receive) -> bytes | None:
        """The whole body, None if the client left before its end.

        A body too large is refused before it is parsed and, where its length was announced, before it is read.
        """
        if arrival.announced_bytes > self._max_body_bytes:
            raise self._too_large(f"{arrival.announced_bytes} bytes")
        check_encoding(arrival)
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
            check_media_type(arrival)
        return b"".join(chunks)

    def _too_large(self, size: str) -> BodyTooLarge:
        return BodyTooLarge(f"the body has {size}, at most {self._max_body_bytes} are taken")


class _Sender:
    """A `send` that names the request and its trace, and knows how far the answer has come."""

    def __init__(self, send: Send, arrival: Arrival) -> None:
        self._send = send
        self._arrival = arrival
        self.started = False
        self.finished = False
        self.status = CLIENT_LEFT

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message["headers"] = [*message.get("headers", ()), *self._arrival.ids]
        await self._send(message)
        self.finished = message["type"] == "http.response.body" and not message.get("more_body", False)


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
