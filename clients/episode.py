"""Episode: one live episode as its client sees it, awaited or not; the client counts its steps."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from clients import calls
from clients.calls import Call
from lamo.errors import StepConflict, UnknownEpisode
from lamo.wire import ActAnswer, EpisodeState, EpisodeSummary

if TYPE_CHECKING:
    from clients.policy_client import AsyncPolicyClient, PolicyClient


class _Progress:
    """How far an episode has come: the part that both kinds of episode share."""

    def __init__(self, started: EpisodeState) -> None:
        self.started = started
        self.step = started.expected_step

    @property
    def episode_id(self) -> str:
        """The episode's name on the service."""
        return self.started.episode_id

    def _act(
        self, observation: ArrayLike, reward: float | None, executed_action: ArrayLike | None
    ) -> Call[ActAnswer]:
        return calls.act(self.episode_id, self.step, observation, reward, executed_action)

    def _end(
        self,
        reward: float | None,
        executed_action: ArrayLike | None,
        terminated: bool,
        truncated: bool,
        success: bool | None,
    ) -> Call[EpisodeSummary]:
        return calls.end_episode(
            self.episode_id,
            self.step,
            reward=reward,
            executed_action=executed_action,
            terminated=terminated,
            truncated=truncated,
            success=success,
        )

    def answered(self, answer: ActAnswer) -> ActAnswer:
        """Take note of an answer: the next step is the one after it."""
        self.step = answer.step + 1
        return answer

    def explained(self, error: StepConflict) -> StepConflict:
        """The conflict, in plain words where the service stands behind what this client saw answered."""
        committed = error.committed_step
        if committed is None or committed >= self.step - 1:
            return error
        return StepConflict(
            f"the service's store lost steps of episode {self.episode_id}: step {self.step - 1} was answered, "
            f"but the episode now ends at step {committed}",
            committed_step=committed,
            expected_step=error.expected_step,
            request_id=error.request_id,
        )


class Episode(_Progress):
    """A live episode, for blocking code. Made by `PolicyClient.start` and `PolicyClient.resume`.

    Attributes:
        started: where it stood when this client began or resumed it.
        step: the step that comes next; it moves only when an answer has come.
    """

    def __init__(self, client: PolicyClient, started: EpisodeState) -> None:
        super().__init__(started)
        self._client = client

    def act(
        self,
        observation: ArrayLike,  # [*observation_shape]
        reward: float | None = None,
        executed_action: ArrayLike | None = None,  # [action_dim]
    ) -> ActAnswer:
        """The action for what the environment shows now.

        `reward` is what the action before earned; `executed_action` is that action where another than the
        proposed one was executed. Neither belongs to step 0. After an error that says no answer came, call it
        again with the same arguments: the step is neither lost nor doubled.

        Raises:
            ServiceError: what the service answered, once trying again is no use or the deadline has passed.
        """
        try:
            return self.answered(self._client.send(self._act(observation, reward, executed_action)))
        except StepConflict as error:
            raise self.explained(error) from error

    def end(
        self,
        reward: float | None = None,
        *,
        executed_action: ArrayLike | None = None,  # [action_dim]
        terminated: bool = False,
        truncated: bool = False,
        success: bool | None = None,
    ) -> EpisodeSummary:
        """End the episode with the last action's reward; the same call again gives the same summary."""
        call = self._end(reward, executed_action, terminated, truncated, success)
        try:
            return self._client.send(call)
        except StepConflict as error:
            raise self.explained(error) from error

    def state(self) -> EpisodeState:
        """Where the service says the episode stands."""
        return self._client.send(calls.episode_state(self.episode_id))

    def delete(self) -> None:
        """Make the service forget the episode; one that it does not know any more is forgotten."""
        with suppress(UnknownEpisode):
            self._client.send(calls.delete_episode(self.episode_id))


class AsyncEpisode(_Progress):
    """A live episode, for asynchronous code; the same surface as `Episode`."""

    def __init__(self, client: AsyncPolicyClient, started: EpisodeState) -> None:
        super().__init__(started)
        self._client = client

    async def act(
        self,
        observation: ArrayLike,  # [*observation_shape]
        reward: float | None = None,
        executed_action: ArrayLike | None = None,  # [action_dim]
    ) -> ActAnswer:
        """See `Episode.act`."""
        try:
            return self.answered(await self._client.send(self._act(observation, reward, executed_action)))
        except StepConflict as error:
            raise self.explained(error) from error

    async def end(
        self,
        reward: float | None = None,
        *,
        executed_action: ArrayLike | None = None,  # [action_dim]
        terminated: bool = False,
        truncated: bool = False,
        success: bool | None = None,
    ) -> EpisodeSummary:
        """See `Episode.end`."""
        call = self._end(reward, executed_action, terminated, truncated, success)
        try:
            return await self._client.send(call)
        except StepConflict as error:
            raise self.explained(error) from error

    async def state(self) -> EpisodeState:
        """See `Episode.state`."""
        return await self._client.send(calls.episode_state(self.episode_id))

    async def delete(self) -> None:
        """See `Episode.delete`."""
        with suppress(UnknownEpisode):
            await self._client.send(calls.delete_episode(self.episode_id))
