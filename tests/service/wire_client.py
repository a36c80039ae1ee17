"""A client that sends what an example asks, and shows answers as examples do."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import msgpack

from lamo.packing import MEDIA_TYPE
from tests.service.wire_scenes import Ask
from tests.wire_examples import Message, pack

JSON = "application/json"
HEADERS = ("content-type", "location", "retry-after", "allow", "www-authenticate", "x-request-id", "traceparent")
TIMING = {"queue_ms": 0.2, "recall_ms": 0.1, "infer_ms": 1.5, "commit_ms": 0.4, "total_ms": 2.4, "batch_size": 1}
VARYING = {"timing": TIMING, "expires_at": 1767226200.0, "server_version": "0.1.0"}
REVISION, CHOSEN_ID = "0123456789ab", "n6PUmDpPL1hGhUrn4jvMsEFYYQ0r9iSY"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ASKING = {"Traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


class Wire:
    """A client that sends what an example asks, and shows the answer without what differs from run to run."""

    def __init__(self, client: httpx.AsyncClient, revision: str = REVISION) -> None:
        self._client = client
        self._revision = revision

    async def send(self, ask: Ask, media_type: str) -> httpx.Response:
        request = request_of(ask)
        content = request.json if media_type == JSON or request.packed is None else request.packed
        headers = dict(request.headers)
        if content:
            headers["Content-Type"] = ask.media_type or media_type
        elif media_type != JSON:
            headers["Accept"] = media_type
        content = content.replace(REVISION.encode(), self._revision.encode())
        return await self._client.request(ask.method, ask.path, content=content, headers=headers)

    def shown(self, response: httpx.Response) -> tuple[dict[str, str], bytes]:
        """Headers and body."""
        headers = {name.title(): response.headers[name] for name in HEADERS if name in response.headers}
        content = response.content
        chosen = re.fullmatch(r"/episodes/([\w-]{32})", headers.get("Location", ""))
        ids = {self._revision: REVISION} | ({chosen[1]: CHOSEN_ID} if chosen else {})
        traced = re.fullmatch(r"00-\w{32}-(\w{16})-0[01]", headers.get("Traceparent", ""))
        headers = shown(headers, ids | ({traced[1]: SPAN} if traced else {}))
        if headers.get("Content-Type") == MEDIA_TYPE:
            return headers, msgpack.packb(shown(msgpack.unpackb(content), ids))
        return headers, json.dumps(shown(json.loads(content), ids)).encode() if content else b""


def undetailed(body: bytes) -> Any:
    return {**json.loads(body), "detail": ""} if body else None


def shown(message: Any, ids: dict[str, str]) -> Any:
    if isinstance(message, dict):
        return {name: VARYING.get(name) or shown(value, ids) for name, value in message.items()}
    if isinstance(message, list):
        return [shown(part, ids) for part in message]
    if isinstance(message, str):
        message = re.sub(r"after \d+ ms", "after 20 ms", message)
        for found, put in ids.items():
            message = message.replace(found, put)
    return message


def request_of(ask: Ask) -> Message:
    packed = ask.packed if ask.body is None else pack(ask.body)
    headers = {"X-Request-Id": ask.name} | ASKING | ({"Content-Type": ask.media_type} if ask.media_type else {})
    return Message(headers, ask.body, ask.text, packed)
