"""Arrival and Reply: a request as it came, its headers looked at once, and an answer as it leaves."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import time
from dataclasses import dataclass, field

from starlette.types import Scope, Send

from lamo.errors import ServiceError
from service.web.traces import Trace

MAX_DIGITS = 18
"""Of an announced length that are read: Python refuses to read thousands, and these are too many bytes already."""

Header = tuple[bytes, bytes]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Arrival:
    """One request.

    Attributes:
        method, path: what is asked for; both empty if the request never came whole.
        client: the address it came from, a trusted proxy's word for it included; None if there is none.
        request_id: the client's, if it sent one that can be logged.
        trace: the client's, if it sent one.
        announced_bytes: the length its body is said to have, 0 if nothing is said.
        content_type, accept: the media types sent and asked for, in lower case, without parameters of the first.
        content_encoding: how the body is compressed, empty if it is not.
        authorization: the key it came with, as it was sent; `repr` leaves it out.
        received_at: on the monotonic clock.
        owner: whose key it came with, once that is known.
        refusals: why it, or items of it, were refused.
        only_counted: whether the audit log has its refusal as one of a number, without its ids.
    """

    method: str = ""
    path: str = ""
    client: str | None = None
    request_id: str = field(default_factory=lambda: secrets.token_hex(8))
    trace: Trace = field(default_factory=lambda: Trace.of(None))
    announced_bytes: int = 0
    content_type: str = ""
    accept: str = ""
    content_encoding: str = ""
    authorization: str = field(default="", repr=False)
    received_at: float = field(default_factory=time.monotonic)
    owner: str | None = None
    refusals: list[ServiceError] = field(default_factory=list)
    only_counted: bool = False

    @classmethod
    def of(cls, scope: Scope) -> Arrival:
        """What the head of a request says."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id", b"").decode("latin-1")
        length = headers.get(b"content-length", b"0")
        address = scope.get("client")
        drawn = os.urandom(32).hex()
        return cls(
            method=scope["method"],
            path=scope["path"],
            client=address[0] if address else None,
            request_id=sent_id if _REQUEST_ID.fullmatch(sent_id) else drawn[:16],
            trace=Trace.of(headers.get(b"traceparent"), drawn[16:]),
            announced_bytes=int(length[:MAX_DIGITS]) if length.isdigit() else 0,
            content_type=headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower(),
            accept=headers.get(b"accept", b"").decode("latin-1").lower(),
            content_encoding=headers.get(b"content-encoding", b"").decode("latin-1").strip().lower(),
            authorization=headers.get(b"authorization", b"").decode("latin-1"),
        )

    @property
    def ids(self) -> tuple[Header, ...]:
        """The headers that name the request and its trace in its answer."""
        return (b"x-request-id", self.request_id.encode()), (b"traceparent", self.trace.traceparent)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with status 200."""

    body: bytes
    media_type: str
    server_timing: str | None = None

    async def send(self, send: Send) -> None:
        """Answer the request."""
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"content-length", str(len(self.body)).encode()),
        ]
        if self.server_timing is not None:
            headers.append((b"server-timing", self.server_timing.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def readable_address(client: str | None) -> str | None:
    """A client's address if it is one: a proxy passes on what a stranger wrote."""
    try:
        return None if client is None else str(ipaddress.ip_address(client))
    except ValueError:
        return "unreadable"
