"""Workload: a fixed-seed evaluation, played over and over while something happens to the service."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Thread

import httpx
import numpy as np

from clients.encoding import Encoding
from clients.keep_alive import KeepAlive
from clients.policy_client import AsyncPolicyClient
from clients.remote_agent import RemoteAgent
from lamo.evaluation import plans
from lamo.rollout import Agent, Ending, EpisodePlan, EpisodeResult, Turn, play
from lamo.window import Actions
from tests.faults.policies import ENVIRONMENT, TARGETS
from tests.faults.processes import wait_until
from training.environments import make_environment

logger = logging.getLogger(__name__)

SEED = 4
POLICY = "standing"

SLOW_SECONDS = 10.0
"""A try that takes longer is told of: whoever looks for the cause of a gap finds when and where it was."""


@dataclass(frozen=True)
class Size:
    """How long an evaluation is.

    Attributes:
        episodes: of each target return; half of them ask alone, half in one request.
        steps: of each episode.
        step_seconds: what a step takes in the simulated world.
    """

    episodes: int = 4
    steps: int = 40
    step_seconds: float = 0.02

    @property
    def plans(self) -> list[EpisodePlan]:
        return plans(TARGETS, self.episodes, SEED)


@dataclass(frozen=True)
class Played:
    """One evaluation as the client saw it: its episodes' ids and results, in the order of the plans."""

    episode_ids: Sequence[str]
    results: Sequence[EpisodeResult]


class Watched(httpx.AsyncBaseTransport):
    """The client's own network, which counts what each try came to, and tells of slow ones."""

    def __init__(self, outcomes: Counter[str]) -> None:
        self._network = KeepAlive()
        self._outcomes = outcomes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        began = time.monotonic()
        try:
            response = await self._network.handle_async_request(request)
        except httpx.TransportError as error:
            self._count(type(error).__name__, request, began)
            raise
        self._count(str(response.status_code), request, began)
        return response

    async def aclose(self) -> None:
        await self._network.aclose()

    def _count(self, outcome: str, request: httpx.Request, began: float) -> None:
        self._outcomes[outcome] += 1
        seconds = time.monotonic() - began
        if seconds > SLOW_SECONDS:
            now = time.strftime("%H:%M:%S")
            logger.warning(f"{now} {request.method} {request.url.path}: {outcome} after {seconds:.1f} s")


class AskingAlone(RemoteAgent):
    """A remote agent whose episodes each send a request of their own, as robots do."""

    def act(self, turns: Sequence[Turn]) -> Sequence[Actions]:
        return self._together(self._act, turns)

    async def _act(self, turn: Turn) -> Actions:
        step = self._next_step(turn)
        answer = await step.episode.act(step.observation, step.reward)
        return np.array(answer.action, np.float32)


@dataclass
class Measured:
    """An agent whose acts are counted and timed.

    Attributes:
        steps: answered so far.
        longest_wait: for an answer, tries included; seconds.
    """

    agent: Agent
    steps: int = 0
    longest_wait: float = 0.0

    def start(self, episodes: Sequence[tuple[int, EpisodePlan]]) -> None:
        self.agent.start(episodes)

    def act(self, turns: Sequence[Turn]) -> Sequence[Actions]:
        began = time.monotonic()
        actions = self.agent.act(turns)
        self.longest_wait = max(self.longest_wait, time.monotonic() - began)
        self.steps += len(turns)
        return actions

    def end(self, endings: Sequence[Ending]) -> None:
        self.agent.end(endings)


@dataclass
class Workload:
    """Evaluations one after another against a service, in a thread, until there were enough.

    Attributes:
        on_round: shown each evaluation that was played to its end, before the next one begins.
        rounds: all of them.
        outcomes: how often a try ended in each status, or in each failure of the connection.
        failure: what ended an evaluation early.
    """

    url: str
    size: Size
    deadline_seconds: float = 90.0
    on_round: Callable[[Played], None] = lambda played: None
    rounds: list[Played] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self._enough = Event()
        self._finished: list[Measured] = []
        self._playing: list[Measured] = []
        self._thread = Thread(target=self._run, daemon=True)

    @property
    def steps(self) -> int:
        """Answered so far."""
        return sum(agent.steps for agent in (*self._finished, *self._playing))

    @property
    def longest_wait(self) -> float:
        """The longest that anybody waited for an action, in seconds."""
        return max(agent.longest_wait for agent in (*self._finished, *self._playing))

    @property
    def steps_per_round(self) -> int:
        return len(self.size.plans) * self.size.steps

    def begin(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Wait until the evaluation under way is played, or has failed."""
        self._enough.set()
        self._thread.join()

    def wait_for_steps(self, more: int) -> None:
        """Wait until so many more steps were answered."""
        wanted = self.steps + more
        wait_until(lambda: self.steps >= wanted or self.failure is not None, f"{wanted} steps were answered")

    def wait_for_middle(self) -> None:
        """Wait until the evaluation under way is between a fifth and half of its way."""
        whole = self.steps_per_round

        def in_the_middle() -> bool:
            share = self.steps % whole / whole
            return 0.2 < share < 0.5 or self.failure is not None

        wait_until(in_the_middle, "an evaluation is in its middle")

    def _run(self) -> None:
        try:
            while not self.rounds or not self._enough.is_set():
                played = self._play()
                self.rounds.append(played)
                self.on_round(played)
        except Exception as error:
            self.failure = error

    def _play(self) -> Played:
        planned = self.size.plans
        with ThreadPoolExecutor(2) as lanes:
            played = list(lanes.map(self._lane, (AskingAlone, RemoteAgent), (planned[0::2], planned[1::2])))
        merged = [*zip(planned[0::2], *played[0], strict=True), *zip(planned[1::2], *played[1], strict=True)]
        by_plan = {plan: (episode_id, result) for plan, episode_id, result in merged}
        return Played(*zip(*(by_plan[plan] for plan in planned), strict=True))

    def _lane(
        self, kind: type[RemoteAgent], planned: Sequence[EpisodePlan]
    ) -> tuple[list[str], list[EpisodeResult]]:
        client = AsyncPolicyClient(
            self.url,
            deadline_seconds=self.deadline_seconds,
            encoding=Encoding.MSGPACK if kind is RemoteAgent else Encoding.JSON,
            transport=Watched(self.outcomes),
        )
        with kind(client, POLICY) as agent:
            measured = Measured(agent)
            self._playing.append(measured)
            results = play(
                measured,
                lambda: make_environment(ENVIRONMENT),
                planned,
                parallel=len(planned),
                max_timesteps=self.size.steps,
                traces=True,
                on_step=lambda steps: time.sleep(self.size.step_seconds),
            )
            self._playing.remove(measured)
            self._finished.append(measured)
            return [agent.started[index].episode_id for index in range(len(planned))], results
