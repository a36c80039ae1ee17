"""Connection: one client's TCP connection, with limits on the head, the bytes and the time of each request.

uvicorn bounds neither how long a client may take to send a request, nor how many headers it has, nor how long an
answer waits to be taken. Time is looked at by a sweep over all connections, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from lamo.errors import (
    BodyTooLarge,
    HeadTooLarge,
    MalformedRequest,
    RequestTimeout,
    ServiceError,
    TooManyConnections,
)
from service.web.arrival import Header

MAX_HEADERS = 100

MAX_HEAD_BYTES = 32_768
"""Of the request's line and its headers; those of this API are a few hundred bytes."""

WIRE_FACTOR = 2
"""Bytes on the wire for each that a body may have: tiny chunks cost much time for little body."""

Refuse = Callable[[ServiceError, str | None], tuple[tuple[Header, ...], bytes]]
"""Logs and counts a refusal of the client at an address; the headers and body of the problem document."""


@dataclass(frozen=True)
class Limits:
    """What a client may do.

    Attributes:
        connections: of all clients to one process.
        body_bytes: of one request.
        seconds: in which a request has to come whole, and in which an answer has to be taken.
    """

    connections: int
    body_bytes: int
    seconds: float


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which refuses what goes beyond its limits with a problem document, and hangs up."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
        refuse: Refuse,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._refuse = refuse
        self._refusal: ServiceError | None = None
        self._due = math.inf
        self._untaken_since = math.inf
        self._received = 0
        self._in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take a client, or tell it that there are too many."""
        super().connection_made(transport)
        self._due = self.loop.time() + self._limits.seconds
        if len(self.connections) > self._limits.connections:
            self._tell(TooManyConnections(f"{self._limits.connections} connections are open already"))
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._due == math.inf:
            self._due = self.loop.time() + self._limits.seconds
        self._received += len(data)
        super().data_received(data)
        if self._received and not self.transport.is_closing():  # the request goes on
            self._weigh()

    def on_message_begin(self) -> None:
        """A request begins; the clock of one that came with the end of the request before starts here."""
        super().on_message_begin()
        if self._due == math.inf:
            self._due, self._received = self.loop.time() + self._limits.seconds, 1

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        if len(self.headers) > MAX_HEADERS or self._received > MAX_HEAD_BYTES < self._head_bytes():
            self._refusal = _head_too_large()
            raise self._refusal
        super().on_headers_complete()
        self._in_body = True

    def on_message_complete(self) -> None:
        """The request is here."""
        self._due, self._received, self._in_body = math.inf, 0, False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser does not take, in its words or in those of the limit that was met."""
        self._hang_up(self._refusal or MalformedRequest("the request is not HTTP/1.1"))

    def look(self, now: float) -> None:
        """Cut off a client that has not sent its request in time, or does not take its answer.

        Args:
            now: on the event loop's clock.
        """
        if self.flow.read_paused:
            self._due = now + self._limits.seconds  # it waits for us
        elif now > self._due:
            self._hang_up(RequestTimeout(f"the request did not come whole within {self._limits.seconds:g} s"))
        if self.transport.get_write_buffer_size() == 0:
            self._untaken_since = math.inf
            return
        self._untaken_since = min(self._untaken_since, now)
        if now - self._untaken_since > self._limits.seconds:
            self.transport.abort()

    def _weigh(self) -> None:
        crowded = self.headers is not None and len(self.headers) > MAX_HEADERS  # with trailers
        if crowded or (not self._in_body and self._received > MAX_HEAD_BYTES):
            self._hang_up(_head_too_large())
        elif self._received > WIRE_FACTOR * self._limits.body_bytes + MAX_HEAD_BYTES:
            self._hang_up(BodyTooLarge(f"the body takes more than {self._received} bytes on the wire"))

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _hang_up(self, refusal: ServiceError) -> None:
        if self.transport.is_closing():
            return
        if self._awaits_answer():
            self._tell(refusal)
        self.transport.close()

    def _tell(self, refusal: ServiceError) -> None:
        headers, body = self._refuse(refusal, self.client[0] if self.client else None)
        framing = ((b"content-length", b"%d" % len(body)), (b"connection", b"close"))
        head = b"".join(b"%b: %b\r\n" % header for header in (*headers, *framing))
        self.transport.write(STATUS_LINE[refusal.status] + head + b"\r\n" + body)

    def _awaits_answer(self) -> bool:
        """Whether it is this request that the client waits for: as the answer of another one it would mislead."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._in_body:
            return answering and not self.cycle.response_started
        return not answering and self._received > 0


def _head_too_large() -> HeadTooLarge:
    return HeadTooLarge(
        f"the request has more than {MAX_HEADERS} headers, or {MAX_HEAD_BYTES} bytes before its body"
    )
