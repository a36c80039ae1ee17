"""RealtimeEpisode: an episode for a control loop that never waits longer than it can; a thread does the talking."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from numpy.typing import ArrayLike

from clients import calls
from clients.episode import Episode
from clients.outage import refuse_unfit
from lamo.errors import (
    BodyTooLarge,
    Conflict,
    EpisodeEnded,
    InvalidRequest,
    MalformedRequest,
    ServiceError,
    UnknownEpisode,
    UnknownPolicy,
    UnsupportedMediaType,
)
from lamo.wire import ActAnswer, ActRequest, EpisodeSummary

DEFAULT_GIVE_UP_SECONDS = 0.5
"""A request that takes longer than this is as good as lost: the next one tells of its step."""

PAUSE_SECONDS = 0.05
"""After a request that failed, where the service does not say how long."""

OVER = (
    BodyTooLarge,
    Conflict,
    EpisodeEnded,
    InvalidRequest,
    MalformedRequest,
    UnknownEpisode,
    UnknownPolicy,
    UnsupportedMediaType,
)
"""Refusals, unless retryable, that every later request would meet too: it would tell of the same timesteps.

Others (a key, an error inside the service, the page of a proxy) say nothing of the timesteps, and may pass.
"""


class RealtimeEpisode:
    """One live episode whose `act` never blocks longer than it is told, and never fails for a bad link.

    A thread of its own sends the newest timestep, together with those that passed meanwhile as missed ones; it
    connects, sends again, gives a lost episode back and catches up after an outage. So there is one request under
    way at a time, over one connection, and the service gets every timestep in order. Timesteps wait in memory
    until the service has them, at most as many as the policy's `max_timesteps`, which no episode exceeds.

    What the policy cannot take is refused before it is kept, so that one bad reading ends nothing. Where the
    service refuses what was kept (`OVER`), the episode is over for this client: a record has no gaps, so nothing
    after the refused timestep can be recorded either. `act` and `end` raise that error from then on, and send
    nothing.

    `with RealtimeEpisode(client.start("walker")) as episode: ...`; leaving the block stops the thread, and what it
    has not told by then is lost: call `end` before.

    Attributes:
        step: the step that the next `act` is for.
        late: how many answers came after their time: with many, the time is too short for the link.
    """

    def __init__(self, episode: Episode, *, give_up_seconds: float = DEFAULT_GIVE_UP_SECONDS) -> None:
        self.step = episode.step
        self.late = 0
        self._episode = episode
        self._give_up_seconds = give_up_seconds
        self._changed = threading.Condition()
        self._untold: deque[ActRequest] = deque()
        self._answer: ActAnswer | None = None
        self._failure: Exception | None = None
        self._refusal: Exception | None = None
        self._awaited: int | None = None
        self._unanswered = False
        self._stopped = False
        self._thread = threading.Thread(target=self._tell, name=f"episode {episode.episode_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def act(
        self,
        observation: ArrayLike,  # [*observation_shape]
        reward: float | None = None,
        executed_action: ArrayLike | None = None,  # [action_dim]
        *,
        within_seconds: float,
    ) -> ActAnswer | None:
        """The action for what the robot sees now, or None if none came in time: then do what is safe.

        Call it once per timestep. Whatever it returns or raises for the service, the timestep is kept, and the
        service is told of it. After None the next call has to say what was executed instead.

        Raises:
            InvalidRequest: this timestep cannot be sent, and is not kept: `step` stays. Beyond `max_timesteps` that
                is so for every one to come: end the episode.
            ServiceError: the service refused a request in a way that no waiting heals. Each refusal is raised once,
                and what it was about is told again, unless the episode is over by it (see the class).
        """
        if not self._thread.is_alive():
            raise RuntimeError("the episode is not open: use it in a `with` block")
        self._raise_refusal()
        until = time.monotonic() + within_seconds
        self._refuse_unsaid(executed_action)
        said = calls.act_request(self.step, observation, reward, executed_action)
        refuse_unfit(said, self.step, self._episode.policy)
        with self._changed:
            self._untold.append(said)
            self._awaited = self.step
            self.step += 1
            self._changed.notify_all()
            self._changed.wait_for(self._heard, until - time.monotonic())
            answer, failure = self._answer, self._refusal or self._failure
            self._answer = self._failure = self._awaited = None
        self._unanswered = answer is None or failure is not None
        if failure is not None:
            raise failure
        return answer

    def end(
        self,
        reward: float | None = None,
        *,
        executed_action: ArrayLike | None = None,  # [action_dim]
        terminated: bool = False,
        truncated: bool = False,
        success: bool | None = None,
    ) -> EpisodeSummary:
        """End the episode, telling of everything that is still untold first; this waits as `Episode.end` does.

        Raises:
            InvalidRequest: it does not say what was executed instead of an answer that did not come in time.
            ServiceError: what the service answered; or the refusal that the episode is over by. Then nothing is
                sent, and the episode stays as it is recorded until it expires.
        """
        self._raise_refusal()
        self._refuse_unsaid(executed_action)
        self._stop()
        self._raise_refusal()
        self._miss(self._untold)
        self._untold.clear()
        return self._episode.end(
            reward, executed_action=executed_action, terminated=terminated, truncated=truncated, success=success
        )

    def _refuse_unsaid(self, executed_action: ArrayLike | None) -> None:
        if self._unanswered and executed_action is None:
            raise InvalidRequest(
                f"executed_action is missing: step {self.step - 1} was not answered in time, say what was executed"
            )

    def _heard(self) -> bool:
        return self._answer is not None or self._failure is not None or self._refusal is not None

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)  # raised at every timestep: its traceback must not grow

    def _tell(self) -> None:
        while self._has_untold():
            try:
                answer = self._told(self._newest())
            except Exception as error:  # whatever it is belongs to whoever steers, not to this thread
                self._wait_after(error)
            else:
                if answer is not None:
                    self._take(answer)

    def _has_untold(self) -> bool:
        """Wait until there is a timestep to tell of; False when the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or (self._untold and self._refusal is None))
            return not self._stopped

    def _newest(self) -> ActRequest:
        """The timestep to ask for; those before it passed."""
        with self._changed:
            passed = [self._untold.popleft() for _ in range(len(self._untold) - 1)]
            newest = self._untold[0]
        self._miss(passed)
        return newest

    def _told(self, newest: ActRequest) -> ActAnswer | None:
        """The answer to the newest timestep, asked for once the service has those before it; None if stopped."""
        client = self._episode.client
        while self._episode.behind:
            if self._stopped:
                return None
            client.converse(self._episode.telling_portion(client.patience(self._give_up_seconds)))
        patience = client.patience(self._give_up_seconds)
        asked = self._episode.acting(patience, newest.observation, newest.reward, newest.executed_action)
        return client.converse(asked)

    def _take(self, answer: ActAnswer) -> None:
        with self._changed:
            self._untold.popleft()
            if answer.step == self._awaited:
                self._answer = answer
                self._changed.notify_all()
            else:
                self.late += 1

    def _wait_after(self, error: Exception) -> None:
        """Pause before the next request, if there is one; an error that no waiting heals is for `act` to raise."""
        asked_ms = error.retry_after_ms if isinstance(error, ServiceError) else None
        with self._changed:
            if not isinstance(error, ServiceError) or (isinstance(error, OVER) and not error.retryable):
                self._refusal = error
                self._untold.clear()
            elif not error.retryable:
                self._failure = error
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped, max(PAUSE_SECONDS, (asked_ms or 0) / 1000))

    def _miss(self, passed: Iterable[ActRequest]) -> None:
        for said in passed:
            self._episode.miss(said.observation, said.reward, said.executed_action)

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
