"""Closed loop: callers who each ask again as soon as they are answered, and what they saw."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from load.service_process import ServiceProcess
from numpy.typing import NDArray

from clients.calls import Call
from clients.episode import AsyncEpisode
from clients.policy_client import AsyncPolicyClient
from clients.together import NextStep
from lamo.config import PolicyConfig
from lamo.errors import ServiceError
from lamo.wire import ActAnswer, Health, Timing

HEALTH = Call("GET", "/healthz", Health)
"""The cheapest JSON route of the service: the same server, framework, middleware and client, and no work."""


@dataclass(frozen=True)
class Exchange:
    """One request as its caller saw it.

    Attributes:
        sent_at, answered_at: on the performance counter; in an open loop `sent_at` is when it was due.
        timing: the service's own account of an act; of a request for many steps, of the one that took longest.
        steps: how many the request carried.
    """

    sent_at: float
    answered_at: float
    timing: Timing | None = None
    steps: int = 1

    @property
    def latency_ms(self) -> float:
        """How long the caller waited."""
        return 1000 * (self.answered_at - self.sent_at)


Caller = Callable[[], Awaitable[Exchange]]
"""Asks once."""


@dataclass
class Sample:
    """All exchanges of a loop.

    Attributes:
        seconds: from the first request to the last answer.
        cpu_seconds: used meanwhile by the service, its Redis and the callers.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @property
    def steps(self) -> int:
        """How many were answered."""
        return sum(exchange.steps for exchange in self.exchanges)

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds


class Robot:
    """Plays one episode after another against the service, on observations drawn at random.

    The first episode ends early, each robot's at another step, so that they do not all begin anew at once.
    """

    def __init__(self, client: AsyncPolicyClient, name: str, config: PolicyConfig, seed: int) -> None:
        self._client = client
        self._name = name
        self._config = config
        self._observations = draw_observations(config, seed)
        self._length = int(np.random.default_rng(seed).integers(config.max_timesteps // 2, config.max_timesteps))
        self.episode: AsyncEpisode | None = None

    async def act(self) -> Exchange:
        """The next step."""
        await self.begin()
        step = self.next_step()
        sent_at = time.perf_counter()
        answer = await step.episode.act(step.observation, step.reward)
        exchange = Exchange(sent_at, time.perf_counter(), answer.timing)
        await self.go_on()
        return exchange

    async def begin(self) -> AsyncEpisode:
        """The episode under way, started if there is none."""
        if self.episode is None:
            self.episode = await self._client.start(self._name)
        return self.episode

    def next_step(self) -> NextStep[AsyncEpisode]:
        """What the robot sees now."""
        if self.episode is None:
            raise RuntimeError("the robot has no episode: begin one")
        step = self.episode.step
        return NextStep(self.episode, self._observations[step % len(self._observations)], 0.0 if step else None)

    async def go_on(self) -> None:
        """Where the episode is over, start another: between two steps, outside every latency."""
        if self.episode is not None and self.episode.step == self._length:
            await self.leave()
            self._length = self._config.max_timesteps
            await self.begin()

    async def leave(self) -> None:
        """Forget the episode under way."""
        if self.episode is not None:
            await self.episode.delete()
            self.episode = None


class Fleet:
    """Robots who ask together: one request carries a step of each."""

    def __init__(self, client: AsyncPolicyClient, robots: Sequence[Robot]) -> None:
        self._client = client
        self._robots = robots

    async def act(self) -> Exchange:
        """The next step of each robot."""
        steps = [robot.next_step() for robot in self._robots]
        sent_at = time.perf_counter()
        outcomes = await self._client.act_together(steps)
        answered_at = time.perf_counter()
        timings = [_answer(outcome).timing for outcome in outcomes]
        for robot in self._robots:
            await robot.go_on()
        return Exchange(sent_at, answered_at, max(timings, key=lambda timing: timing.total_ms), len(steps))


async def check_health(client: AsyncPolicyClient) -> Exchange:
    """One request that does nothing."""
    sent_at = time.perf_counter()
    await client.send(HEALTH)
    return Exchange(sent_at, time.perf_counter())


async def closed_loop(service: ServiceProcess, callers: Sequence[Caller], seconds: float) -> Sample:
    """Every caller asks until the time is over; requests under way then are waited for and counted."""
    sample = Sample()
    cpu_before, began = service.cpu_seconds(), time.perf_counter()

    async def ask(caller: Caller) -> None:
        while time.perf_counter() < began + seconds:
            sample.exchanges.append(await caller())

    await asyncio.gather(*map(ask, callers))
    sample.seconds = time.perf_counter() - began
    sample.cpu_seconds = service.cpu_seconds() - cpu_before
    return sample


async def fill_windows(robots: Sequence[Robot], config: PolicyConfig) -> None:
    """Warm-up: play until every window is as long as it gets, and the windows' starts lie evenly over the hop."""
    for played in range(config.context_length + config.hop):
        playing = [robot for index, robot in enumerate(robots) if played < filled_steps(config, index)]
        await asyncio.gather(*(robot.act() for robot in playing))


def filled_steps(config: PolicyConfig, index: int) -> int:
    """After how many steps one of several episodes is first measured.

    Episodes that had all begun at once would move their windows in the same step, which robots do not.
    """
    return config.context_length + index % config.hop


def draw_observations(config: PolicyConfig, seed: int) -> NDArray[np.float32]:  # [64, *observation_shape]
    """Observations to go round in; what they say costs nothing."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((64, *config.observation.shape)).astype(np.float32)


def _answer(outcome: ActAnswer | ServiceError) -> ActAnswer:
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome
