"""EngineServer: the engine's end of the Unix socket; it asks a `Serving` of its process for the workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lamo.errors import InternalError, ServiceError
from lamo.wire import EndRequest, MissedStep, StartRequest, WindowRequest, WindowTimestep
from service.processes.frames import Frames, asked_step, caller_of
from service.serving import Serving

logger = logging.getLogger(__name__)

Method = Callable[..., Awaitable[object]]


class EngineServer:
    """Answers every worker that connects.

    Attributes:
        path: of the socket.
    """

    def __init__(self, serving: Serving, path: Path) -> None:
        self.path = path
        self._methods = _methods(serving)
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def left(self) -> bool:
        """Whether no worker is connected."""
        return not self._connections

    async def __aenter__(self) -> Self:
        self.path.unlink(missing_ok=True)  # a dead engine's
        self._server = await asyncio.get_running_loop().create_unix_server(self._connected, str(self.path))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.frames.close()

    def _connected(self) -> Frames:
        connection = _Connection(self._methods, self._connections.discard)
        self._connections.add(connection)
        return connection.frames


class _Connection:
    """One worker's calls."""

    def __init__(self, methods: dict[str, Method], lost: Callable[[_Connection], None]) -> None:
        self.frames = Frames(self._received, self._lost)
        self._methods = methods
        self._forget = lost
        self._calls: dict[int, asyncio.Task[None]] = {}

    def _received(self, frame: list[Any]) -> None:
        number, method, arguments = frame
        if method is not None:
            self._calls[number] = asyncio.create_task(self._answer(number, method, arguments))
        elif number in self._calls:
            self._calls.pop(number).cancel()

    async def _answer(self, number: int, method: str, arguments: Sequence[Any]) -> None:
        answer: object
        try:
            answer = await self._methods[method](*arguments)
        except ServiceError as error:
            answer = error
        except Exception:
            logger.exception("a call failed", extra=_told(method, arguments))
            answer = InternalError("the service failed; the engine's log has the reason")
        finally:
            self._calls.pop(number, None)
        self.frames.send((number, answer))

    def _lost(self) -> None:
        """The worker is gone, and with it whoever waited for its answers."""
        self._forget(self)
        for call in self._calls.values():
            call.cancel()


def _told(method: str, arguments: Sequence[Any]) -> dict[str, object]:
    """What the log says of a call. Acts that fail are told of where they wait, and never get here."""
    if not arguments or method in ("act", "act_together"):
        return {"call": method}
    caller = caller_of(arguments[0])
    return {"call": method, "request_id": caller.request_id, "trace_id": caller.trace_id}


def _methods(serving: Serving) -> dict[str, Method]:
    """What workers may ask, with arguments as frames hold them."""

    async def start(caller: Sequence[Any], episode_id: str, fields: dict[str, Any]) -> object:
        return await serving.start(caller_of(caller), StartRequest.model_construct(**fields), episode_id)

    async def restore(caller: Sequence[Any], episode_id: str, fields: dict[str, Any]) -> object:
        timesteps = [WindowTimestep.model_construct(**timestep) for timestep in fields.pop("timesteps")]
        request = WindowRequest.model_construct(**fields, timesteps=timesteps)
        return await serving.restore(caller_of(caller), episode_id, request)

    async def end(caller: Sequence[Any], episode_id: str, fields: dict[str, Any]) -> object:
        missed = [MissedStep.model_construct(**step) for step in fields.pop("missed")]
        request = EndRequest.model_construct(**fields, missed=missed)
        return await serving.end(caller_of(caller), episode_id, request)

    return {
        "policies": lambda caller: serving.policies(caller_of(caller)),
        "policy": lambda caller, name: serving.policy(caller_of(caller), name),
        "start": start,
        "restore": restore,
        "act": lambda values: serving.act(asked_step(values)),
        "act_together": lambda items: serving.act_together([asked_step(values) for values in items]),
        "end": end,
        "state": lambda caller, episode_id: serving.state(caller_of(caller), episode_id),
        "delete": lambda caller, episode_id: serving.delete(caller_of(caller), episode_id),
        "health": serving.health,
        "readiness": serving.readiness,
    }
