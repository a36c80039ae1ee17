"""One request to an ASGI application, without a client that would refuse to send it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from starlette.types import ASGIApp, Message

JSON, MSGPACK = "application/json", "application/msgpack"


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    media_type: str
    body: bytes

    def refuse_failures(self) -> None:
        """Fail unless this is an answer of the contract: no 5xx, and each refusal is a problem document."""
        assert self.status < 500, self
        if self.status >= 400:
            assert self.media_type == "application/problem+json", self
            assert json.loads(self.body)["status"] == self.status


async def post(app: ASGIApp, path: str, media_type: str, body: bytes, method: str = "POST") -> Answered:
    """Send a body, take the answer."""
    told: list[Message] = []

    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Message:
        for message in asked:
            return message
        return await asyncio.Future()  # it stays

    async def send(message: Message) -> None:
        told.append(message)

    headers = [(b"content-type", media_type.encode()), (b"accept", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": headers}
    await app(scope | {"query_string": b"", "root_path": "", "scheme": "http"}, receive, send)
    start, *rest = told
    answered = dict(start["headers"])[b"content-type"].decode()
    return Answered(start["status"], answered, b"".join(message.get("body", b"") for message in rest))
