"""Episode: one live episode as its client sees it, awaited or not; the client counts its steps."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from clients import calls
from clients.memory import Memory
from clients.outage import Outage
from clients.patience import Patience
from clients.talk import Talk, ask
from lamo.errors import UnknownEpisode, UnreadableAnswer
from lamo.wire import ActAnswer, ActItem, ActRequest, EpisodeState, EpisodeSummary, PolicyInfo

if TYPE_CHECKING:
    from clients.policy_client import AsyncPolicyClient, PolicyClient


class Progress:
    """How far an episode has come, and what is said of it: the part that both kinds of episode share.

    Attributes:
        memory: what was answered, to give the episode back to a service that lost it.
        step: the step that comes next; it moves when an answer has come, or the step passed without one.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.step = memory.started.expected_step
        self._outage = Outage(memory.policy)

    @property
    def started(self) -> EpisodeState:
        """Where the episode stood when this client began or resumed it."""
        return self.memory.started

    @property
    def episode_id(self) -> str:
        """The episode's name on the service."""
        return self.started.episode_id

    @property
    def policy(self) -> PolicyInfo:
        """What plays it."""
        return self.memory.policy

    @property
    def missed_numbers(self) -> int:
        """How many numbers the next request carries of missed steps."""
        return self._outage.numbers

    def miss(
        self,
        observation: ArrayLike,  # [*observation_shape]
        reward: float | None = None,
        executed_action: ArrayLike | None = None,  # [action_dim]
    ) -> None:
        """Take note that the next step passed without an answer: the robot did something, and time went on.

        Nothing is sent; the next `act` or `end` tells of it. The fields are those of `act`. What the robot did at
        this step is the `executed_action` of whatever comes after it, which has to say it.

        Raises:
            InvalidRequest: it is not noted: a number is not finite, a shape is not the policy's, the step is beyond
                the policy's `max_timesteps`, or what was executed at a missed step before is not said.
        """
        self._outage.refuse_unsaid(executed_action)
        self._outage.add(calls.missed_step(self.step, observation, reward, executed_action))
        self.step += 1

    def item(self, observation: ArrayLike, reward: float | None, executed_action: ArrayLike | None) -> ActItem:
        """The next step, as one of several episodes'."""
        self._outage.refuse_unsaid(executed_action)
        said = calls.item(self.episode_id, self.step, observation, reward, executed_action)
        return self._outage.told_by(said)

    def acting(
        self,
        patience: Patience,
        observation: ArrayLike,
        reward: float | None,
        executed_action: ArrayLike | None,
    ) -> Talk[ActAnswer]:
        """See `Episode.act`."""
        self._outage.refuse_unsaid(executed_action)
        said = calls.act_request(self.step, observation, reward, executed_action)
        yield from self.catching_up(patience)
        return (yield from self._acting(self._outage.told_by(said), patience))

    def catching_up(self, patience: Patience) -> Talk[None]:
        """Tell of missed steps until the next request can carry those that are left.

        The last of each portion is asked for as if its answer were awaited; nobody uses it, and what was executed
        instead is said with the step after it.
        """
        while self.behind:
            yield from self.telling_portion(patience)

    @property
    def behind(self) -> bool:
        """Whether more steps were missed than one request carries."""
        return self._outage.portion() is not None

    def telling_portion(self, patience: Patience) -> Talk[None]:
        """Tell of as many missed steps as one request carries, if that is not all of them."""
        portion = self._outage.portion()
        if portion is not None:
            yield from self._acting(portion, patience)

    def ending(
        self,
        patience: Patience,
        reward: float | None,
        *,
        executed_action: ArrayLike | None,
        terminated: bool,
        truncated: bool,
        success: bool | None,
    ) -> Talk[EpisodeSummary]:
        """See `Episode.end`."""
        self._outage.refuse_unsaid(executed_action)
        yield from self.catching_up(patience)
        call = calls.end_episode(
            self.episode_id,
            self.step,
            reward=reward,
            executed_action=executed_action,
            terminated=terminated,
            truncated=truncated,
            success=success,
            missed=self._outage.steps,
        )
        summary = yield from self.memory.lasting(call, patience)
        self.memory.over = True
        return summary

    def deleting(self, patience: Patience) -> Talk[None]:
        """See `Episode.delete`."""
        self.memory.over = True
        with suppress(UnknownEpisode):
            yield from ask(calls.delete_episode(self.episode_id), patience)

    def answered(self, request: ActRequest, answer: ActAnswer) -> ActAnswer:
        """Take note of an answer: what it answers is recorded, and the next step comes after it.

        Raises:
            UnreadableAnswer: it is another request's, as a proxy that mixes up its connections gives.
        """
        if (answer.episode_id, answer.step) != (self.episode_id, request.step):
            raise UnreadableAnswer(
                f"step {request.step} of episode {self.episode_id} was answered with step {answer.step} "
                f"of episode {answer.episode_id}"
            )
        self.memory.keep(request, answer)
        self._outage.recorded(answer.step)
        self.step = max(self.step, answer.step + 1)
        return answer

    def _acting(self, request: ActRequest, patience: Patience) -> Talk[ActAnswer]:
        call = calls.act(self.episode_id, request)
        return self.answered(request, (yield from self.memory.lasting(call, patience)))


class Episode(Progress):
    """A live episode, for blocking code. Made by `PolicyClient.start` and `PolicyClient.resume`."""

    def __init__(self, client: PolicyClient, memory: Memory) -> None:
        super().__init__(memory)
        self.client = client

    def act(
        self,
        observation: ArrayLike,  # [*observation_shape]
        reward: float | None = None,
        executed_action: ArrayLike | None = None,  # [action_dim]
    ) -> ActAnswer:
        """The action for what the environment shows now.

        `reward` is what the action before earned; `executed_action` is that action where another than the
        proposed one was executed. Neither belongs to step 0. After an error that says no answer came, call it
        again with the same arguments: the step is neither lost nor doubled. If the robot cannot wait for that,
        tell of the step with `miss`. An episode that the service lost is given back to it on the way.

        Raises:
            InvalidRequest: this step cannot be sent; nothing was.
            ServiceError: what the service answered, once trying again is no use or the deadline has passed.
        """
        return self.client.converse(self.acting(self.client.patience(), observation, reward, executed_action))

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
        patience = self.client.patience()
        talk = self.ending(
            patience,
            reward,
            executed_action=executed_action,
            terminated=terminated,
            truncated=truncated,
            success=success,
        )
        return self.client.converse(talk)

    def state(self) -> EpisodeState:
        """Where the service says the episode stands."""
        return self.client.send(calls.episode_state(self.episode_id))

    def delete(self) -> None:
        """Make the service forget the episode; one that it does not know any more is forgotten."""
        self.client.converse(self.deleting(self.client.patience()))


class AsyncEpisode(Progress):
    """A live episode, for asynchronous code; the same surface as `Episode`."""

    def __init__(self, client: AsyncPolicyClient, memory: Memory) -> None:
        super().__init__(memory)
        self.client = client

    async def act(
        self,
        observation: ArrayLike,  # [*observation_shape]
        reward: float | None = None,
        executed_action: ArrayLike | None = None,  # [action_dim]
    ) -> ActAnswer:
        """See `Episode.act`."""
        patience = self.client.patience()
        return await self.client.converse(self.acting(patience, observation, reward, executed_action))

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
        patience = self.client.patience()
        talk = self.ending(
            patience,
            reward,
            executed_action=executed_action,
            terminated=terminated,
            truncated=truncated,
            success=success,
        )
        return await self.client.converse(talk)

    async def state(self) -> EpisodeState:
        """See `Episode.state`."""
        return await self.client.send(calls.episode_state(self.episode_id))

    async def delete(self) -> None:
        """See `Episode.delete`."""
        await self.client.converse(self.deleting(self.client.patience()))
