"""RemoteAgent: plays `lamo.rollout` with a policy that is served elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar

import anyio
import numpy as np
from anyio.from_thread import BlockingPortal, start_blocking_portal

from clients.episode import AsyncEpisode
from clients.policy_client import AsyncPolicyClient
from clients.together import NextStep
from lamo.errors import LamoError, ServiceError
from lamo.rollout import Ending, EpisodePlan, Turn
from lamo.window import Actions
from lamo.wire import ActAnswer, EpisodeState

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class RemoteAgent:
    """All episodes of a round ask the service in one request.

    The event loop runs in a thread of its own, so the agent works where a loop runs already (a notebook).
    Its episodes end with the rollout, or expire after their time to live if the rollout is cut off.

    Attributes:
        started: what the service said at the start of each episode, by the episode's index.
    """

    def __init__(self, client: AsyncPolicyClient, policy: str) -> None:
        self.client = client
        self.policy = policy
        self.started: dict[int, EpisodeState] = {}
        self._episodes: dict[int, AsyncEpisode] = {}
        self._portal: BlockingPortal | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(self._portal.wrap_async_context_manager(self.client))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal = None
        self._stack.__exit__(kind, error, trace)

    def start(self, episodes: Sequence[tuple[int, EpisodePlan]]) -> None:
        """Start these episodes on the service."""
        begun = self._together(self._start, episodes)
        for (index, _), episode in zip(episodes, begun, strict=True):
            self._episodes[index] = episode
            self.started[index] = episode.started

    def act(self, turns: Sequence[Turn]) -> Sequence[Actions]:
        """One action per turn.

        Raises:
            ServiceError: of the first turn that failed, after its deadline.
        """
        steps = [self._next_step(turn) for turn in turns]
        return [_action(outcome) for outcome in self._opened().call(self.client.act_together, steps)]

    def end(self, endings: Sequence[Ending]) -> None:
        """End these episodes on the service."""
        self._together(self._end, endings)
        for ending in endings:
            del self._episodes[ending.episode]

    async def _start(self, planned: tuple[int, EpisodePlan]) -> AsyncEpisode:
        _, plan = planned
        return await self.client.start(self.policy, plan.target_return, labels={"seed": str(plan.seed)})

    def _next_step(self, turn: Turn) -> NextStep[AsyncEpisode]:
        return NextStep(self._episodes[turn.episode], turn.observation, turn.reward if turn.step > 0 else None)

    async def _end(self, ending: Ending) -> None:
        await self._episodes[ending.episode].end(
            ending.reward, terminated=ending.terminated, truncated=ending.truncated
        )

    def _together(self, ask: Callable[[ItemT], Awaitable[ResultT]], items: Sequence[ItemT]) -> list[ResultT]:
        """What `ask` gives for each item, all asked at once, in the order of the items."""
        return self._opened().call(_gather, ask, items)

    def _opened(self) -> BlockingPortal:
        if self._portal is None:
            raise RuntimeError("the agent is not open: use it in a `with` block")
        return self._portal


def _action(outcome: ActAnswer | ServiceError) -> Actions:
    if isinstance(outcome, ServiceError):
        raise outcome
    return np.array(outcome.action, np.float32)


async def _gather(ask: Callable[[ItemT], Awaitable[ResultT]], items: Sequence[ItemT]) -> list[ResultT]:
    """Every result, or the first error; unlike `asyncio.gather` it leaves nothing running behind an error."""
    results: dict[int, ResultT] = {}
    errors: list[LamoError] = []

    async def run(index: int, item: ItemT) -> None:
        try:
            results[index] = await ask(item)
        except LamoError as error:
            errors.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for index, item in enumerate(items):
            group.start_soon(run, index, item)
    if errors:
        raise errors[0]
    return [results[index] for index in range(len(items))]
