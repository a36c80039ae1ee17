"""Frames: what HTTP workers and an engine process send each other over a Unix socket, as a stream of msgpack.

A call is `[number, method, arguments]`, its answer `[number, value]`; a worker whose client left sends
`[number, None, []]`. msgpack says itself where a frame ends. Both ends are one version of this code on one machine,
and only their user reaches the socket, so values are checked where they entered the service and not again here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgpack
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from lamo.errors import ServiceError
from service.callers import NO_LIMITS, Caller, Limits
from service.serving import AskedStep
from service.steps.contents import StepContent

MAX_FRAME_BYTES = 2**30
"""No limit in practice: bodies are limited where they come in, and this is what many of them in one turn fit in."""

_ARRAY, _REFUSAL = 1, 2


class Frames(asyncio.Protocol):
    """One connection. Frames of one turn of the event loop leave in one write.

    Args:
        received: called with each frame that came.
        lost: called once the connection is gone.
    """

    def __init__(self, received: Callable[[list[Any]], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._packer = msgpack.Packer(default=_packed)
        self._unpacker = msgpack.Unpacker(ext_hook=_unpacked, max_buffer_size=MAX_FRAME_BYTES)
        self._waiting: list[bytes] = []

    @property
    def open(self) -> bool:
        """Whether the connection stands."""
        return self._transport is not None

    def send(self, frame: Sequence[object]) -> None:
        """Send a frame at the end of this turn; on a lost connection it goes nowhere."""
        packed: bytes = self._packer.pack(frame)
        if not self._waiting and self._loop is not None:
            self._loop.call_soon(self._write)
        self._waiting.append(packed)

    def close(self) -> None:
        """Send what waits and close the connection."""
        if self._transport is not None:
            self._write()
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport, self._loop = cast(asyncio.Transport, transport), asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        self._unpacker.feed(data)
        for frame in self._unpacker:
            self._received(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        self._transport = None
        self._lost()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._transport is not None and waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))


def step_values(asked: AskedStep) -> list[object]:
    """An act as a list that a frame can hold; `asked_step` makes it one again."""
    content = _content_values(asked.content)
    return [caller_values(asked.caller), asked.episode_id, asked.received_at, asked.deadline, content]


def asked_step(values: Sequence[Any]) -> AskedStep:
    """The act that `step_values` wrote."""
    caller, episode_id, received_at, deadline, content = values
    return AskedStep(caller_of(caller), episode_id, _content_of(content), received_at, deadline)


def caller_values(caller: Caller) -> list[object]:
    """A caller as a list that a frame can hold; `caller_of` makes it one again."""
    limits = caller.limits
    told = None if limits is NO_LIMITS else (limits.policies, limits.in_flight, limits.starts_per_second)
    return [caller.owner, caller.request_id, caller.trace_id, caller.key_id, told]


def caller_of(values: Sequence[Any]) -> Caller:
    """The caller that `caller_values` wrote."""
    owner, request_id, trace_id, key_id, told = values
    if told is None:
        return Caller(owner, request_id, trace_id, key_id=key_id)
    policies, in_flight, starts_per_second = told
    return Caller(owner, request_id, trace_id, Limits(tuple(policies), in_flight, starts_per_second), key_id)


def _content_values(content: StepContent) -> list[object]:
    missed = [_content_values(passed) for passed in content.missed]
    said = content.step, content.reward, content.executed_action, content.observation, content.observed_at
    return [*said, missed]


def _content_of(values: Sequence[Any]) -> StepContent:
    step, reward, executed_action, observation, observed_at, missed = values
    passed = tuple(_content_of(one) for one in missed)
    return StepContent(step, reward, executed_action, observation, observed_at, passed)


def _packed(value: object) -> object:
    """What msgpack has no type for: arrays and refusals as types of our own, messages as their fields."""
    if isinstance(value, BaseModel):
        return value.__dict__
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(_ARRAY, msgpack.packb((value.dtype.str, value.shape, value.tobytes())))
    if isinstance(value, ServiceError):
        return msgpack.ExtType(_REFUSAL, msgpack.packb(value.problem()))
    raise TypeError(f"{type(value).__name__} cannot be sent to another process")


def _unpacked(code: int, data: bytes) -> NDArray[Any] | ServiceError:
    if code == _ARRAY:
        dtype, shape, numbers = msgpack.unpackb(data)
        return np.frombuffer(numbers, dtype).reshape(shape)
    document = msgpack.unpackb(data)
    return ServiceError.from_problem(document["status"], document)
