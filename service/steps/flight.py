"""Flight: the acts under way, so that a request sent twice is computed once and steps of an episode queue up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from lamo.errors import ServiceError
from lamo.wire import ActAnswer
from service.callers import Caller, EpisodeName
from service.steps.contents import StepContent
from service.steps.rules import step_in_flight


@dataclass(eq=False)
class Act:
    """One act from its receipt until its commit is resolved; those who sent the same wait for the same answer.

    Attributes:
        caller: who sent it first.
        received_at, deadline, taken_at: on the monotonic clock; no deadline is infinity.
        attempts: how often the store's decision sent it back to be decided anew.
        begun: whether inference has begun for it.
        resolved: whether it was answered or refused.
        alarm: goes off at its deadline.
    """

    name: EpisodeName
    caller: Caller
    content: StepContent
    received_at: float
    deadline: float
    taken_at: float = 0.0
    recall_ms: float = 0.0
    infer_ms: float = 0.0
    commit_ms: float = 0.0
    batch_size: int = 0
    attempts: int = 0
    begun: bool = False
    resolved: bool = False
    alarm: asyncio.TimerHandle | None = None
    _waits: list[Wait] = field(default_factory=list)

    @property
    def expired(self) -> bool:
        """Whether its deadline has passed."""
        return time.monotonic() > self.deadline

    @property
    def abandoned(self) -> bool:
        """Whether everyone who waited for it has left."""
        return not self._waits

    def join(self) -> Wait:
        """Wait for the answer too, in a way that takes nobody else's answer along when it is given up."""
        wait = Wait(self)
        self._waits.append(wait)
        return wait

    def leave(self, wait: Wait) -> None:
        """Wait no longer."""
        self._waits.remove(wait)

    def answer(self, answer: ActAnswer) -> None:
        """Give everyone who waits the answer."""
        self.resolved = True
        for wait in self._waits:
            if not wait.answer.done():
                wait.answer.set_result(answer)

    def refuse(self, error: ServiceError) -> None:
        """Tell everyone who waits why there is none."""
        self.resolved = True
        for wait in self._waits:
            if not wait.answer.done():
                wait.answer.set_exception(error)
                wait.answer.exception()  # it may leave before it hears


@dataclass(eq=False)
class Wait:
    """One request's wait for an act."""

    act: Act
    answer: asyncio.Future[ActAnswer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Flight:
    """The acts under way, by episode. Requests name no epoch; the one under way carries its own to the store."""

    def __init__(self) -> None:
        self._acts: dict[EpisodeName, list[Act]] = {}

    def find(self, name: EpisodeName, content: StepContent, deadline: float) -> Act | None:
        """The act under way that this request repeats, kept alive until this request's deadline too.

        One that tells of the step under way as missed waits for it like any later step: it says itself what became
        of that step.

        Raises:
            StepInFlight: another act is under way that this one contradicts or follows.
        """
        for act in self._acts.get(name, ()):
            under_way, asked, first = act.content.step, content.step, content.first
            if under_way is None or asked is None or first == under_way + 1:
                raise step_in_flight(name.id, under_way)
            if asked == under_way:
                if not act.content.same_as(content, asked):
                    raise step_in_flight(name.id, under_way)
                act.deadline = max(act.deadline, deadline)
                return act
        return None

    def touches(self, name: EpisodeName) -> bool:
        """Whether an act of the episode is under way."""
        return name in self._acts

    def acts(self) -> list[Act]:
        """All that are under way."""
        return [act for acts in self._acts.values() for act in acts]

    def add(self, act: Act) -> None:
        """The act is under way."""
        self._acts.setdefault(act.name, []).append(act)

    def remove(self, act: Act) -> None:
        """The act is resolved."""
        acts = self._acts[act.name]
        acts.remove(act)
        if not acts:
            del self._acts[act.name]
