"""Local: the service in this process, as the interface that routes ask."""

from __future__ import annotations

from collections.abc import Sequence

from lamo.errors import Draining, NotReady, ServiceError
from lamo.wire import (
    ActAnswer,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    Health,
    PolicyInfo,
    PolicyList,
    StartRequest,
    WindowRequest,
)
from service.callers import Caller
from service.processes.lifecycle import Lifecycle
from service.serving import AskedStep
from service.steps.acting import Acting


class Local:
    """A `Serving` over a lifecycle: refuses until it is open, and new episodes once it is draining."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    async def policies(self, caller: Caller) -> PolicyList:
        """See `Serving.policies`."""
        return self._acting().policies(caller)

    async def policy(self, caller: Caller, name: str) -> PolicyInfo:
        """See `Serving.policy`."""
        return await self._acting().policy(caller, name)

    async def start(
        self, caller: Caller, request: StartRequest, episode_id: str | None = None
    ) -> tuple[EpisodeState, bool]:
        """See `Serving.start`."""
        if self._lifecycle.draining:
            raise Draining("the service shuts down and takes no new episodes", retry_after_ms=1000)
        return await self._acting().start(caller, request, episode_id)

    async def restore(self, caller: Caller, episode_id: str, request: WindowRequest) -> EpisodeState:
        """See `Serving.restore`."""
        return await self._acting().restore(caller, episode_id, request)

    async def act(self, asked: AskedStep) -> ActAnswer:
        """See `Serving.act`."""
        return await self._acting().act(asked)

    async def act_together(self, asked: Sequence[AskedStep]) -> list[ActAnswer | ServiceError]:
        """See `Serving.act_together`."""
        return await self._acting().act_together(asked)

    async def end(self, caller: Caller, episode_id: str, request: EndRequest) -> EpisodeSummary:
        """See `Serving.end`."""
        return await self._acting().end(caller, episode_id, request)

    async def state(self, caller: Caller, episode_id: str) -> EpisodeState:
        """See `Serving.state`."""
        return await self._acting().state(caller, episode_id)

    async def delete(self, caller: Caller, episode_id: str) -> None:
        """See `Serving.delete`."""
        await self._acting().delete(caller, episode_id)

    async def health(self) -> Health:
        """See `Serving.health`."""
        if self._lifecycle.stalled:
            return Health(status="stalled", detail="work is queued and nothing was finished for 10 s")
        return Health(status="ok")

    async def readiness(self) -> Health:
        """See `Serving.readiness`."""
        if self._lifecycle.draining:
            return Health(status="draining")
        return Health(status="ready" if self._lifecycle.opened else "loading")

    def _acting(self) -> Acting:
        """What acts, once policies are loaded and warmed up."""
        if not self._lifecycle.opened:
            raise NotReady("the policies are still being loaded", retry_after_ms=1000)
        return self._lifecycle.acting
