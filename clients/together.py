"""Together: acts of many episodes in one request: which are still to be sent, and what came of the others. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx
import numpy as np
from numpy.typing import ArrayLike

from clients import calls
from clients.calls import Call
from clients.episode import AsyncEpisode, Episode
from clients.memory import MOST_RESTORES
from clients.patience import Patience
from clients.talk import Each, Pause, Talk, Try
from lamo.errors import ServiceError, UnreadableAnswer
from lamo.wire import MAX_ITEMS, ActAnswer, ActItem, ActOutcome, ActTogetherAnswer

EpisodeT = TypeVar("EpisodeT", Episode, AsyncEpisode)

Outcome = ActAnswer | ServiceError

NUMBERS_PER_REQUEST = 32_768
"""Of all observations and executed actions together; in JSON at most two thirds of the bytes that a service takes
unless told more."""


@dataclass(frozen=True)
class NextStep(Generic[EpisodeT]):
    """What one of several episodes shows; the fields are those of `Episode.act`."""

    episode: EpisodeT
    observation: ArrayLike  # [*observation_shape]
    reward: float | None = None
    executed_action: ArrayLike | None = None  # [action_dim]


def answers(steps: Sequence[NextStep[EpisodeT]], patience: Callable[[], Patience]) -> Talk[list[Outcome]]:
    """The next step of each of several episodes, in requests that each have a patience of their own.

    Raises:
        InvalidRequest: one of the steps cannot be sent; then none was.
    """
    sent = [Together(portion) for portion in portions(steps)]
    outcomes: list[Outcome] = []
    for together in sent:
        outcomes += yield from together.answers(patience())
    return outcomes


class Together(Generic[EpisodeT]):
    """The next steps of several episodes, on their way to the service.

    Attributes:
        outcomes: of each step, in their order: the answer, or why there is none (yet).
    """

    def __init__(self, steps: Sequence[NextStep[EpisodeT]]) -> None:
        self.outcomes: list[Outcome | None] = [None] * len(steps)
        self._steps: Sequence[NextStep[EpisodeT]] = steps
        self._items = [_item(step) for step in steps]
        self._pending = list(range(len(steps)))
        self._lost: list[tuple[int, ServiceError]] = []
        self._restores: Counter[int] = Counter()

    def answers(self, patience: Patience) -> Talk[list[Outcome]]:
        """Send what is pending until nothing is, or patience ends; what the service lost is given back first."""
        yield from self._catch_up(patience)
        while self._pending:
            try:
                self.take((yield Try(self.call(), patience.begin_try(), patience.traceparent)))
            except (httpx.RequestError, ServiceError) as error:
                try:
                    pause = patience.pause_after(error)
                except ServiceError as final:
                    self.give_up(final)
                    break
                yield Pause(pause)
            yield from self._give_back(patience)
        return self.ended()

    def call(self) -> Call[ActTogetherAnswer]:
        """The request for what is pending."""
        return calls.act_together([self._items[index] for index in self._pending])

    def take(self, answer: ActTogetherAnswer) -> None:
        """Keep what came; an item that may succeed if it is sent again stays pending.

        Raises:
            ServiceError: of the pending item that should wait longest.
        """
        if len(answer.items) != len(self._pending):
            raise UnreadableAnswer(f"{len(self._pending)} items were answered with {len(answer.items)}")
        again: list[tuple[int, ServiceError]] = []
        for index, item in zip(self._pending, answer.items, strict=True):
            outcome = self.outcomes[index] = self._outcome(index, item)
            if isinstance(outcome, ServiceError) and outcome.retryable:
                again.append((index, outcome))
            elif isinstance(outcome, ServiceError) and self._may_be_given_back(index, outcome):
                self._lost.append((index, outcome))
        self._pending = sorted(index for index, _ in again + self._lost)
        if again:
            raise max((error for _, error in again), key=lambda error: error.retry_after_ms or 0)

    def give_up(self, error: ServiceError) -> None:
        """What is pending ends with the reason the service gave for it, or with this one."""
        for index in self._pending:
            self.outcomes[index] = self.outcomes[index] or error

    def ended(self) -> list[Outcome]:
        """The outcomes, once nothing is to come."""
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _outcome(self, index: int, item: ActOutcome) -> Outcome:
        if isinstance(item.body, ActAnswer):
            episode: Episode | AsyncEpisode = self._steps[index].episode
            try:
                return episode.answered(self._items[index], item.body)
            except UnreadableAnswer as error:
                return error
        return ServiceError.from_problem(item.status, item.body.model_dump(exclude_none=True))

    def _may_be_given_back(self, index: int, error: ServiceError) -> bool:
        return self._restores[index] < MOST_RESTORES and self._steps[index].episode.memory.misses(error)

    def _give_back(self, patience: Patience) -> Talk[None]:
        lost, self._lost = self._lost, []
        self._restores.update(index for index, _ in lost)
        giving = [(index, self._steps[index].episode.memory.give_back(error, patience)) for index, error in lost]
        if giving:
            yield Each([self._or_drop(index, talk) for index, talk in giving])

    def _catch_up(self, patience: Patience) -> Talk[None]:
        """Episodes that missed more than one request carries tell of it in requests of their own."""
        for index, step in enumerate(self._steps):
            if len(self._items[index].missed) > 0:
                yield from self._or_drop(index, step.episode.catching_up(patience))
                self._items[index] = _item(step)

    def _or_drop(self, index: int, talk: Talk[None]) -> Talk[None]:
        """Go on without an episode whose talk fails; the error is its outcome."""
        try:
            yield from talk
        except ServiceError as error:
            self.outcomes[index] = error
            self._pending.remove(index)


def portions(steps: Sequence[NextStep[EpisodeT]]) -> Iterator[Sequence[NextStep[EpisodeT]]]:
    """The steps in portions that fit into a request."""
    portion: list[NextStep[EpisodeT]] = []
    numbers = 0
    for step in steps:
        executed = () if step.executed_action is None else step.executed_action
        size = np.size(step.observation) + np.size(executed) + step.episode.missed_numbers
        if portion and (len(portion) == MAX_ITEMS or numbers + size > NUMBERS_PER_REQUEST):
            yield portion
            portion, numbers = [], 0
        portion.append(step)
        numbers += size
    if portion:
        yield portion


def _item(step: NextStep[EpisodeT]) -> ActItem:
    return step.episode.item(step.observation, step.reward, step.executed_action)
