"""Together: acts of many episodes in one request: which are still to be sent, and what came of the others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from clients import calls
from clients.calls import Call
from clients.episode import AsyncEpisode, Episode
from lamo.errors import ServiceError, StepConflict, UnreadableAnswer
from lamo.wire import MAX_ITEMS, ActAnswer, ActItem, ActOutcome, ActTogetherAnswer

EpisodeT = TypeVar("EpisodeT", Episode, AsyncEpisode)

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


class Together(Generic[EpisodeT]):
    """The next steps of several episodes, on their way to the service.

    Attributes:
        outcomes: of each step, in their order: the answer, or why there is none (yet).
    """

    def __init__(self, steps: Sequence[NextStep[EpisodeT]]) -> None:
        self.outcomes: list[ActAnswer | ServiceError | None] = [None] * len(steps)
        self._episodes: list[Episode | AsyncEpisode] = [step.episode for step in steps]
        self._items = [_item(step) for step in steps]
        self._pending = list(range(len(steps)))

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
        self._pending = [index for index, _ in again]
        if again:
            raise max((error for _, error in again), key=lambda error: error.retry_after_ms or 0)

    def give_up(self, error: ServiceError) -> None:
        """What is pending ends with the reason the service gave for it, or with this one."""
        for index in self._pending:
            self.outcomes[index] = self.outcomes[index] or error

    def ended(self) -> list[ActAnswer | ServiceError]:
        """The outcomes, once nothing is to come."""
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _outcome(self, index: int, item: ActOutcome) -> ActAnswer | ServiceError:
        episode = self._episodes[index]
        if isinstance(item.body, ActAnswer):
            return episode.answered(item.body)
        error = ServiceError.from_problem(item.status, item.body.model_dump(exclude_none=True))
        return episode.explained(error) if isinstance(error, StepConflict) else error


def portions(steps: Sequence[NextStep[EpisodeT]]) -> Iterator[Sequence[NextStep[EpisodeT]]]:
    """The steps in portions that fit into a request."""
    portion: list[NextStep[EpisodeT]] = []
    numbers = 0
    for step in steps:
        executed = () if step.executed_action is None else step.executed_action
        size = np.size(step.observation) + np.size(executed)
        if portion and (len(portion) == MAX_ITEMS or numbers + size > NUMBERS_PER_REQUEST):
            yield portion
            portion, numbers = [], 0
        portion.append(step)
        numbers += size
    if portion:
        yield portion


def _item(step: NextStep[EpisodeT]) -> ActItem:
    return calls.item(
        step.episode.episode_id, step.episode.step, step.observation, step.reward, step.executed_action
    )
