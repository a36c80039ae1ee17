"""Arrival and Reply: a request as it came, its headers looked at once, and an answer as it leaves."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field

from starlette.types import Scope, Send

MAX_DIGITS = 18
"""Of an announced length that are read: Python refuses to read thousands, and these are too many bytes already."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Arrival:
    """One request.

    Attributes:
        request_id: the client's, if it sent one that can be logged.
        received_at: on the monotonic clock.
        announced_bytes: the length its body is said to have, 0 if nothing is said.
        content_type, accept: the media types sent and asked for, in lower case, without parameters of the first.
    """

    request_id: str
    announced_bytes: int
    content_type: str
    accept: str
    received_at: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, scope: Scope) -> Arrival:
        """What the headers of a request say."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id", b"").decode("latin-1")
        length = headers.get(b"content-length", b"0")
        return cls(
            request_id=sent_id if _REQUEST_ID.fullmatch(sent_id) else secrets.token_hex(8),
            announced_bytes=int(length[:MAX_DIGITS]) if length.isdigit() else 0,
            content_type=headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower(),
            accept=headers.get(b"accept", b"").decode("latin-1").lower(),
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with status 200."""

    body: bytes
    media_type: str
    server_timing: str | None = None

    async def send(self, arrival: Arrival, send: Send) -> None:
        """Answer the request."""
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"content-length", str(len(self.body)).encode()),
            (b"x-request-id", arrival.request_id.encode()),
        ]
        if self.server_timing is not None:
            headers.append((b"server-timing", self.server_timing.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})
