"""Remote: the service in engine processes of this machine, as the interface that routes ask."""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lamo.errors import Draining, ServiceError
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
from service.callers import Caller, EpisodeName
from service.processes.frames import caller_values, step_values
from service.processes.link import Link
from service.serving import AskedStep

PROBE_SECONDS = 8.0
"""An engine that says nothing for this long has stalled; the contract tells it within 10 s."""


class Remote:
    """A `Serving` over one engine process per device; an episode's id says which of them has it.

    Attributes:
        draining: whether this worker is shutting down.
    """

    def __init__(self, sockets: Sequence[Path]) -> None:
        self.draining = False
        self._links = [Link(path) for path in sockets]

    async def __aenter__(self) -> Self:
        for link in self._links:
            link.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for link in self._links:
            await link.close()

    async def policies(self, caller: Caller) -> PolicyList:
        """See `Serving.policies`."""
        return PolicyList.model_validate(await self._links[0].ask("policies", caller_values(caller)))

    async def policy(self, caller: Caller, name: str) -> PolicyInfo:
        """See `Serving.policy`."""
        return PolicyInfo.model_validate(await self._links[0].ask("policy", caller_values(caller), name))

    async def start(
        self, caller: Caller, request: StartRequest, episode_id: str | None = None
    ) -> tuple[EpisodeState, bool]:
        """See `Serving.start`."""
        if self.draining:
            raise Draining("the service shuts down and takes no new episodes", retry_after_ms=1000)
        if episode_id is None:
            episode_id = secrets.token_urlsafe(24)  # here: the id says which engine to ask
        state, started = await self._ask(caller, "start", episode_id, request)
        return EpisodeState.model_validate(state), started

    async def restore(self, caller: Caller, episode_id: str, request: WindowRequest) -> EpisodeState:
        """See `Serving.restore`."""
        return EpisodeState.model_validate(await self._ask(caller, "restore", episode_id, request))

    async def act(self, asked: AskedStep) -> ActAnswer:
        """See `Serving.act`."""
        return ActAnswer.model_validate(await self._link(asked.episode).ask("act", step_values(asked)))

    async def act_together(self, asked: Sequence[AskedStep]) -> list[ActAnswer | ServiceError]:
        """See `Serving.act_together`; each engine gets its episodes' steps in one call."""
        companies: dict[Link, list[int]] = {}
        for index, step in enumerate(asked):
            companies.setdefault(self._link(step.episode), []).append(index)
        outcomes: dict[int, ActAnswer | ServiceError] = {}

        async def ask(link: Link, indices: list[int]) -> None:
            answers = await _together(link, [asked[index] for index in indices])
            outcomes.update(zip(indices, answers, strict=True))

        await asyncio.gather(*(ask(link, indices) for link, indices in companies.items()))
        return [outcomes[index] for index in range(len(asked))]

    async def end(self, caller: Caller, episode_id: str, request: EndRequest) -> EpisodeSummary:
        """See `Serving.end`."""
        return EpisodeSummary.model_validate(await self._ask(caller, "end", episode_id, request))

    async def state(self, caller: Caller, episode_id: str) -> EpisodeState:
        """See `Serving.state`."""
        return EpisodeState.model_validate(await self._ask(caller, "state", episode_id))

    async def delete(self, caller: Caller, episode_id: str) -> None:
        """See `Serving.delete`."""
        await self._ask(caller, "delete", episode_id)

    async def health(self) -> Health:
        """See `Serving.health`: the worst of all. An engine that is being started again has not stalled."""
        return _worst("ok", await self._probe("health", silent="stalled", away="ok"))

    async def readiness(self) -> Health:
        """See `Serving.readiness`: ready if every engine is."""
        if self.draining:
            return Health(status="draining")
        return _worst("ready", await self._probe("readiness", silent="loading", away="loading"))

    async def _probe(self, question: str, *, silent: str, away: str) -> list[Health]:
        return await asyncio.gather(*(_probed(link, question, silent=silent, away=away) for link in self._links))

    async def _ask(self, caller: Caller, method: str, episode_id: str, *arguments: object) -> Any:
        link = self._link(caller.episode(episode_id))
        return await link.ask(method, caller_values(caller), episode_id, *arguments)

    def _link(self, episode: EpisodeName) -> Link:
        """The same in every worker and after every restart, so that an episode's window stays where it is."""
        return self._links[zlib.crc32("/".join(episode).encode()) % len(self._links)]


async def _together(link: Link, asked: list[AskedStep]) -> list[ActAnswer | ServiceError]:
    try:
        answers = await link.ask("act_together", [step_values(step) for step in asked])
    except ServiceError as error:
        return [error] * len(asked)
    return [answer if isinstance(answer, ServiceError) else ActAnswer.model_validate(answer) for answer in answers]


async def _probed(link: Link, question: str, *, silent: str, away: str) -> Health:
    """What an engine says of itself, or the status of one that says nothing, or is not there."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return Health.model_validate(await link.ask(question))
    except TimeoutError:
        return Health(status=silent, detail=f"an engine did not answer for {PROBE_SECONDS:.0f} s")
    except ServiceError as error:
        return Health(status=away, detail=error.detail)


def _worst(good: str, answers: Sequence[Health]) -> Health:
    return next((answer for answer in answers if answer.status != good), answers[0])
