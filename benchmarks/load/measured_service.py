"""MeasuredService: a running service under one load after another, each beside the same policy in process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from load.closed_loop import Caller, Fleet, Robot, Sample, check_health, closed_loop, fill_windows
from load.in_process import InProcess
from load.open_loop import open_loop
from load.service_process import ServiceProcess
from pages.results import Cell, EpisodeMemory, Load

from clients.policy_client import AsyncPolicyClient
from lamo.inference import slot_bytes
from lamo.packed import fill_tokens
from lamo.policy import DTYPES, SLOT_BYTES, Policy
from service.policies.engine import default_threads

DEADLINE_SECONDS = 300.0
"""No request is given up: a batch of 64 through GPT-2 small takes seconds on a CPU."""

BATCH_LIMIT = 64
"""The service's own default."""

FLEET = 64
"""Episodes in an open loop: enough that a step seldom waits for an episode that is free."""

WARM_UP_SECONDS = 0.5

NO_OP = "GET /healthz"


@dataclass(frozen=True)
class Way:
    """How steps are asked for.

    Attributes:
        encoding: "json" or "msgpack".
        together: steps in one request; 1 is a request of its own for each.
    """

    encoding: str = "json"
    together: int = 1

    def __str__(self) -> str:
        name = {"json": "JSON", "msgpack": "msgpack"}[self.encoding]
        return f"single, {name}" if self.together == 1 else f"{self.together} in one request, {name}"


SINGLE_JSON = Way()


@dataclass
class MeasuredService:
    """A service, and how it is measured.

    Attributes:
        policies: the folder that it serves.
        seconds: of each load, after warm-up.
        redis: where it keeps its episodes, in a word.
        reproducible: whether it was started so.
        threads: CPU threads of a forward pass in process; None for what the service takes by itself.
    """

    service: ServiceProcess
    policies: Path
    seconds: float
    redis: str
    reproducible: bool
    threads: int | None
    _loaded: dict[str, Policy] = field(default_factory=dict)

    def closed(self, name: str, episodes: int, way: Way = SINGLE_JSON) -> Cell:
        """So many episodes, each asking again as soon as it is answered."""
        load = Load(self._title(name), episodes, way=str(way), redis=self.redis)
        say(f"{load.title}, {episodes} episodes, {way}, Redis {self.redis}")
        return Cell.of(load, asyncio.run(self._closed(name, episodes, way)))

    def closed_beside(self, name: str, episodes: int) -> Cell:
        """The same beside the policy in process: measured before and after, since a machine's speed changes."""
        load = Load(self._title(name), episodes, way=str(SINGLE_JSON), redis=self.redis)
        say(f"{load.title}, {episodes} episodes, beside in process")
        policy = self._policy(name)
        torch.set_num_threads(self.threads or default_threads(policy.parameters, os.cpu_count() or 1))
        alone = InProcess(policy, episodes, BATCH_LIMIT)
        before = alone.steps_per_second(self.seconds / 3)
        sample = asyncio.run(self._closed(name, episodes, SINGLE_JSON))
        cell = Cell.of(load, sample, (before + alone.steps_per_second(self.seconds / 3)) / 2)
        say(f"  {cell.per_second:.1f} steps/s, {cell.share:.2f} of in process")
        return cell

    def at_rate(self, name: str, rate: float) -> Cell:
        """So many single steps per second, spread over the episodes of a fleet."""
        load = Load(self._title(name), FLEET, rate, redis=self.redis)
        say(f"{load.title}, {rate:g} steps/s, Redis {self.redis}")
        return Cell.of(load, asyncio.run(self._at_rate(name, rate)))

    def no_op(self, callers: int, rate: float | None = None) -> Cell:
        """A route that does nothing, in a closed loop or at a rate."""
        say(f"{NO_OP}, {callers} callers" + ("" if rate is None else f", {rate:g} requests/s"))
        return Cell.of(Load(NO_OP, callers, rate, redis=self.redis), asyncio.run(self._no_op(callers, rate)))

    def weigh(self, name: str) -> EpisodeMemory:
        """An episode's memory in Redis and on the device."""
        config = self._policy(name).config
        meta, ring = asyncio.run(self._redis_bytes(name))
        tokens = fill_tokens(config.context_length)
        slot = {
            dtype: slot_bytes(config.trunk, tokens, torch_dtype) if config.trunk is not None else 0
            for dtype, torch_dtype in DTYPES.items()
        }
        return EpisodeMemory(self._title(name), meta, ring, slot)

    def _title(self, name: str) -> str:
        return f"{name}, reproducible" if self.reproducible else name

    def _policy(self, name: str) -> Policy:
        """The policy in this process, with the service's own memory for windows."""
        if name not in self._loaded:
            self._loaded[name] = Policy.load(
                self.policies / name, reproducible=self.reproducible, slot_bytes=SLOT_BYTES
            )
        return self._loaded[name]

    async def _closed(self, name: str, episodes: int, way: Way) -> Sample:
        async with self._client(way.encoding) as client, self._robots(client, name, episodes) as robots:
            return await closed_loop(self.service, _callers(client, robots, way), self.seconds)

    async def _at_rate(self, name: str, rate: float) -> Sample:
        async with self._client() as client, self._robots(client, name, FLEET) as robots:
            return await open_loop(self.service, [robot.act for robot in robots], rate, self.seconds)

    async def _no_op(self, callers: int, rate: float | None) -> Sample:
        async with self._client() as client:
            checks = [partial(check_health, client)] * callers
            await closed_loop(self.service, checks, WARM_UP_SECONDS)
            if rate is None:
                return await closed_loop(self.service, checks, self.seconds / 2)
            return await open_loop(self.service, checks, rate, self.seconds)

    async def _redis_bytes(self, name: str) -> tuple[int, int]:
        async with self._client() as client, self._robots(client, name, 1) as [robot]:
            return self.service.memory_bytes((await robot.begin()).episode_id)

    def _client(self, encoding: str = "json") -> AsyncPolicyClient:
        return AsyncPolicyClient(self.service.url, deadline_seconds=DEADLINE_SECONDS, encoding=encoding)

    @asynccontextmanager
    async def _robots(self, client: AsyncPolicyClient, name: str, episodes: int) -> AsyncIterator[list[Robot]]:
        """Robots with full windows; their episodes are forgotten at the end."""
        config = self._policy(name).config
        robots = [Robot(client, name, config, seed) for seed in range(episodes)]
        await fill_windows(robots, config)
        try:
            yield robots
        finally:
            await asyncio.gather(*(robot.leave() for robot in robots))


def _callers(client: AsyncPolicyClient, robots: Sequence[Robot], way: Way) -> list[Caller]:
    if way.together == 1:
        return [robot.act for robot in robots]
    return [
        Fleet(client, robots[first : first + way.together]).act for first in range(0, len(robots), way.together)
    ]


def say(text: str) -> None:
    """Progress; the page alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)
