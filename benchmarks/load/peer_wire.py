"""PeerWire: how each server is asked for a step, and a connection that asks at little cost to the shared cores."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Step:
    """What a caller sends; observations are written as JSON beforehand.

    Attributes:
        past: the observations before this one, for a server that takes the episode over here.
    """

    episode: str
    step: int
    observation: str
    reward: float
    past: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wire:
    """How a server is spoken to.

    Attributes:
        act: path and body of a step.
        action: the action in the decoded answer.
        begins: whether episodes are begun and deleted by requests of their own.
        takes_over: whether an episode may begin in its middle, with its past.
    """

    act: Callable[[Step], tuple[str, str]]
    action: Callable[[Any], list[float]]
    begins: bool = False
    takes_over: bool = True


def _plain_body(step: Step) -> str:
    past = f', "past": [{", ".join(step.past)}]' if step.past else ""
    return (
        f'{{"episode": "{step.episode}", "step": {step.step}, "observation": {step.observation}, '
        f'"reward": {step.reward}{past}}}'
    )


def _lamo_act(step: Step) -> tuple[str, str]:
    reward = f', "reward": {step.reward}' if step.step else ""
    return f"/episodes/{step.episode}/act", f'{{"step": {step.step}, "observation": {step.observation}{reward}}}'


PLAIN_WIRE = Wire(lambda step: ("/act", _plain_body(step)), lambda answer: answer["action"])

BENTO_WIRE = Wire(lambda step: ("/act", f'{{"steps": [{_plain_body(step)}]}}'), lambda answer: answer[0])
"""A batchable API takes a list, here of one."""

LAMO_WIRE = Wire(_lamo_act, lambda answer: answer["action"], begins=True, takes_over=False)


class Connection(asyncio.Protocol):
    """One kept connection: a request, its answer, and so on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]]

    async def ask(self, method: str, path: str, body: str = "") -> tuple[int, Any]:
        """Status and decoded JSON of the answer; connects first where no connection is open."""
        if self._transport is None:
            await asyncio.get_running_loop().create_connection(lambda: self, HOST, self._port)
        self._parser, self._body = httptools.HttpResponseParser(self), b""
        self._answer = asyncio.get_running_loop().create_future()
        payload = body.encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {HOST}:{self._port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(payload)}\r\n\r\n"
        )
        cast(asyncio.Transport, self._transport).write(head.encode() + payload)
        status, content = await self._answer
        return status, json.loads(content) if content and 200 <= status < 300 else content

    def close(self) -> None:
        """Close it, if it is open."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """From asyncio: connected."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """From asyncio: whoever waits is told."""
        self._transport = None
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_result((0, b"the connection was closed"))

    def data_received(self, data: bytes) -> None:
        """From asyncio: a part of the answer."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """From the parser: a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """From the parser: the answer is whole."""
        if not self._parser.should_keep_alive():
            self.close()
            self._transport = None
        self._answer.set_result((self._parser.get_status_code(), self._body))
