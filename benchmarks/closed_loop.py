"""Closed loop: callers who each ask again as soon as they are answered; what they saw, and the same in process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from service_process import ServiceProcess

from clients.calls import Call
from clients.episode import AsyncEpisode
from clients.policy_client import AsyncPolicyClient
from lamo.config import PolicyConfig
from lamo.policy import Policy
from lamo.window import EpisodeWindow
from lamo.wire import Health, Timing

HEALTH = Call("GET", "/healthz", Health)
"""The cheapest JSON route of the service: the same server, framework, middleware and client, and no work."""


@dataclass(frozen=True)
class Exchange:
    """One request as its caller saw it; `timing` is the service's own account of an act."""

    latency_ms: float
    timing: Timing | None = None


@dataclass
class Sample:
    """All exchanges of a closed loop.

    Attributes:
        seconds: from the first request to the last answer.
        cpu_seconds: used meanwhile by the service, its Redis and the callers.
    """

    exchanges: list[Exchange] = field(default_factory=list)
    seconds: float = 0.0
    cpu_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.exchanges) / self.seconds


class Robot:
    """Plays one episode after another against the service, on observations drawn at random."""

    def __init__(self, client: AsyncPolicyClient, name: str, config: PolicyConfig, seed: int) -> None:
        self._client = client
        self._name = name
        self._config = config
        self._observations = draw_observations(config, seed)
        self.episode: AsyncEpisode | None = None

    async def act(self) -> Exchange:
        """The next step; where an episode is over, another is started first, outside the latency."""
        if self.episode is None or self.episode.step == self._config.max_timesteps:
            await self.leave()
            self.episode = await self._client.start(self._name)
        step = self.episode.step
        began = time.perf_counter()
        answer = await self.episode.act(self._observations[step % len(self._observations)], 0.0 if step else None)
        return Exchange(1000 * (time.perf_counter() - began), answer.timing)

    async def leave(self) -> None:
        """Forget the episode under way."""
        if self.episode is not None:
            await self.episode.delete()


async def check_health(client: AsyncPolicyClient) -> Exchange:
    """One request that does nothing."""
    began = time.perf_counter()
    await client.send(HEALTH)
    return Exchange(1000 * (time.perf_counter() - began))


async def closed_loop(
    service: ServiceProcess, callers: Sequence[Callable[[], Awaitable[Exchange]]], seconds: float
) -> Sample:
    """Every caller asks until the time is over; requests under way then are waited for and counted."""
    sample = Sample()
    cpu_before, began = service.cpu_seconds(), time.perf_counter()

    async def ask(caller: Callable[[], Awaitable[Exchange]]) -> None:
        while time.perf_counter() < began + seconds:
            sample.exchanges.append(await caller())

    await asyncio.gather(*map(ask, callers))
    sample.seconds = time.perf_counter() - began
    sample.cpu_seconds = service.cpu_seconds() - cpu_before
    return sample


async def fill_windows(robots: Sequence[Robot], context_length: int) -> None:
    """Warm-up: play until every window is as long as it gets."""
    for _ in range(context_length):
        await asyncio.gather(*(robot.act() for robot in robots))


def steps_in_process(policy: Policy, episodes: int, seconds: float) -> float:
    """Steps per second of the policy alone: as many windows in one batch, advanced as the service advances them."""
    observations = draw_observations(policy.config, seed=0)
    windows = _filled(policy, observations, episodes)
    windows = _advance(policy, windows, observations[0])  # warm-up
    steps, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        if windows[0].step + 1 == policy.config.max_timesteps:
            windows = [policy.begin(policy.config.target_returns[0])] * episodes
        windows = _advance(policy, windows, observations[steps // episodes % len(observations)])
        steps += episodes
    return steps / (time.perf_counter() - began)


def draw_observations(config: PolicyConfig, seed: int) -> NDArray[np.float32]:  # [64, *observation_shape]
    """Observations to go round in; what they say costs nothing."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((64, *config.observation.shape)).astype(np.float32)


def _advance(
    policy: Policy,
    windows: Sequence[EpisodeWindow],
    observation: NDArray[np.float32],  # [*observation_shape]
) -> list[EpisodeWindow]:
    seen = [window.observe(observation) for window in windows]
    actions = policy.clip(policy.propose(seen))
    return [window.propose(action) for window, action in zip(seen, actions, strict=True)]


def _filled(policy: Policy, observations: NDArray[np.float32], episodes: int) -> list[EpisodeWindow]:
    """Full windows without asking the policy."""
    window = policy.begin(policy.config.target_returns[0])
    for observation in observations[: policy.config.context_length]:
        window = window.observe(observation)
    return [window] * episodes
