"""Serving: everything that can be asked of the service, in this process or beyond a socket, as one async interface.

The HTTP routes know this and nothing else: whether policies run in their own process (`service.processes.local`)
or in an engine process that several HTTP workers share (`service.processes.remote`) makes no difference to them.
Nothing here loads torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lamo.errors import ServiceError
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
from service.steps.contents import StepContent


@dataclass(frozen=True, slots=True)
class AskedStep:
    """One act request, decoded.

    Attributes:
        received_at, deadline: on the monotonic clock, which all processes of a machine share; no deadline is
            infinity.
    """

    caller: Caller
    episode_id: str
    content: StepContent
    received_at: float
    deadline: float

    @property
    def episode(self) -> EpisodeName:
        """The episode it is a step of."""
        return EpisodeName(self.caller.owner, self.episode_id)


class Serving(Protocol):
    """Starts, steps, ends and forgets episodes. Every method raises the ServiceError that is its answer.

    What belongs to another owner than the caller's, or may not be used by it, is not there.
    """

    async def policies(self, caller: Caller) -> PolicyList:
        """What is served."""
        ...

    async def policy(self, caller: Caller, name: str) -> PolicyInfo:
        """One policy, by "name" or "name@revision"."""
        ...

    async def start(
        self, caller: Caller, request: StartRequest, episode_id: str | None = None
    ) -> tuple[EpisodeState, bool]:
        """Start an episode, under a fresh id or the client's; the second value is false if it lived already."""
        ...

    async def restore(self, caller: Caller, episode_id: str, request: WindowRequest) -> EpisodeState:
        """Give an episode that is lost, or behind what its client saw answered, its last timesteps back."""
        ...

    async def act(self, asked: AskedStep) -> ActAnswer:
        """Answer one step. Cancelled if the client leaves: a step that nobody waits for need not be inferred."""
        ...

    async def act_together(self, asked: Sequence[AskedStep]) -> list[ActAnswer | ServiceError]:
        """Answer one step of each of several episodes; each stands alone."""
        ...

    async def end(self, caller: Caller, episode_id: str, request: EndRequest) -> EpisodeSummary:
        """End an episode."""
        ...

    async def state(self, caller: Caller, episode_id: str) -> EpisodeState:
        """Where an episode stands."""
        ...

    async def delete(self, caller: Caller, episode_id: str) -> None:
        """Forget an episode; forgetting it again is harmless."""
        ...

    async def health(self) -> Health:
        """Status "ok", or "stalled" if work waits and nothing was finished for too long."""
        ...

    async def readiness(self) -> Health:
        """Status "ready", "loading" or "draining"."""
        ...
