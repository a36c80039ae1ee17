"""Memory: an episode's last timesteps as its client sent them and saw them answered, to give them back. Pure."""

from __future__ import annotations

import logging
from collections import deque
from typing import NamedTuple

from clients import calls
from clients.calls import Call
from clients.patience import Patience
from clients.talk import AnswerT, Talk, ask
from lamo.errors import BodyTooLarge, ServiceError, StepConflict, UnknownEpisode
from lamo.window import next_return_to_go
from lamo.wire import ActAnswer, ActRequest, EpisodeState, MissedStep, PolicyInfo, WindowTimestep

logger = logging.getLogger(__name__)

MOST_RESTORES = 3
"""In one call: a store that forgets an episode faster than it can be used is not kept company."""


class Memory:
    """What a client knows of one episode: enough to give it back to a service that lost it.

    Attributes:
        started: where the episode stood when this client began or resumed it.
        policy: what plays it.
        last: the last step that this client knows to be recorded, -1 before the first.
        over: whether this client ended or deleted the episode; then it is not given back.
    """

    def __init__(
        self,
        started: EpisodeState,
        *,
        policy: PolicyInfo,
        start: Call[EpisodeState] | None = None,
        ttl_seconds: int | None = None,
    ) -> None:
        """A memory of up to the policy's context; `start` is the call that started it, if this client did.

        `ttl_seconds` is what it was started with, for a service too old to say so itself.
        """
        self.started = started
        self.policy = policy
        self.last = started.committed_step
        self.over = False
        self._start = start
        self._ttl_seconds = ttl_seconds if started.ttl_seconds is None else started.ttl_seconds
        self._timesteps: deque[_Remembered] = deque(maxlen=policy.context_length)
        self._episode_return = started.episode_return
        self._return_to_go = started.return_to_go

    def keep(self, request: ActRequest, answer: ActAnswer) -> None:
        """Remember an answered step, and those before it that it told of as missed."""
        if answer.step <= self.last:
            return
        for passed in request.missed:
            if passed.step > self.last:
                self._keep(passed, passed.step, None)
        self._keep(request, answer.step, answer)
        self.last = answer.step

    def lasting(self, call: Call[AnswerT], patience: Patience) -> Talk[AnswerT]:
        """The answer to a call about this episode; where the service lost the episode, it is given back first.

        Raises:
            ServiceError: the service's final answer, or that it gave none; of a lost episode that this client
                cannot give back, why not.
        """
        for _ in range(MOST_RESTORES):
            try:
                return (yield from ask(call, patience))
            except (UnknownEpisode, StepConflict) as error:
                if not self.misses(error):
                    raise
                yield from self.give_back(error, patience)
        return (yield from ask(call, patience))

    def misses(self, error: ServiceError) -> bool:
        """Whether an error says that the service lost what this client saw recorded."""
        if self.over:
            return False
        if isinstance(error, StepConflict):
            return error.committed_step is not None and error.committed_step < self.last
        return isinstance(error, UnknownEpisode)

    def give_back(self, error: ServiceError, patience: Patience) -> Talk[None]:
        """Give the episode back to a service that lost it, as `error` says.

        Raises:
            ServiceError: it cannot be given back, or the service does not take it.
        """
        while True:
            try:
                state = yield from ask(self._giving_back(error), patience)
                break
            except StepConflict:
                return  # it stands further than this client saw: asking again finds what it has
            except BodyTooLarge:
                if len(self._timesteps) < 2:
                    raise
                self._forget_older_half()
        if self.last < 0:
            self.started = state
        logger.warning(
            "restored episode %s at step %d with %d timesteps: %s",
            state.episode_id,
            self.last,
            len(self._timesteps),
            error.detail,
        )

    def _keep(self, said: ActRequest | MissedStep, step: int, answer: ActAnswer | None) -> None:
        reward = 0.0 if said.reward is None else said.reward
        self._episode_return += reward
        if answer is not None:
            self._return_to_go = answer.return_to_go
        elif step > 0:
            self._return_to_go = next_return_to_go(self._return_to_go, reward, delayed_reward=False)
        action = None if answer is None else answer.action
        self._timesteps.append(_Remembered(said, step, self._return_to_go, action))

    def _forget_older_half(self) -> None:
        """Images may be more than a service takes at once: a shorter context is better than none."""
        for _ in range(len(self._timesteps) // 2):
            self._timesteps.popleft()

    def _giving_back(self, error: ServiceError) -> Call[EpisodeState]:
        state = self.started
        if self._timesteps:
            timesteps = [remembered.message() for remembered in self._timesteps]
            return calls.restore_window(state, self._ttl_seconds, self._episode_return, timesteps)
        if self._start is not None and self.last < 0:
            return self._start
        raise error.saying(
            f"the service lost episode {state.episode_id}, and this client cannot give it back: it resumed the "
            f"episode at step {state.expected_step} and has seen no answer since"
        )


class _Remembered(NamedTuple):
    """One timestep; as a message only when it is given back, which is hardly ever."""

    said: ActRequest | MissedStep
    step: int
    return_to_go: float
    action: list[float] | None

    def message(self) -> WindowTimestep:
        return WindowTimestep.model_construct(
            step=self.step,
            observation=self.said.observation,
            reward=self.said.reward,
            executed_action=self.said.executed_action,
            action=self.action,
            return_to_go=self.return_to_go,
        )
