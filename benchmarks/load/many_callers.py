"""ManyCallers: a closed loop from several processes at once, for a service that answers more than one can ask."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from load.closed_loop import Caller, Exchange, Fleet, Robot, fill_windows
from numpy.typing import NDArray

from clients.policy_client import AsyncPolicyClient
from lamo.config import PolicyConfig

DEADLINE_SECONDS = 60.0

START_SECONDS = 8.0
"""Until every process has imported what it takes and filled its windows; the measurement begins for all at once."""


@dataclass(frozen=True)
class Errand:
    """What one process asks: so many episodes of a policy, so many of them in one request."""

    url: str
    policy: str
    config: PolicyConfig
    episodes: int
    together: int
    encoding: str
    seed: int
    begins_at: float
    seconds: float


@dataclass(frozen=True)
class Heard:
    """What came of it.

    Attributes:
        latencies_ms: [requests].
        steps: answered in the time.
        timing_ms: [requests, 4], the service's own account: queue, infer, commit, total.
        late_seconds: how long after the common start this process began.
    """

    latencies_ms: NDArray[np.float64]
    steps: int
    timing_ms: NDArray[np.float64]
    late_seconds: float


def ask_from_many(errands: Sequence[Errand]) -> list[Heard]:
    """Every errand in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=len(errands), mp_context=context) as pool:
        return list(pool.map(run, errands))


def run(errand: Errand) -> Heard:
    """One errand, in this process."""
    return asyncio.run(_run(errand))


async def _run(errand: Errand) -> Heard:
    options = {"deadline_seconds": DEADLINE_SECONDS, "encoding": errand.encoding}
    async with AsyncPolicyClient(errand.url, **options) as client:
        seeds = range(errand.seed, errand.seed + errand.episodes)
        robots = [Robot(client, errand.policy, errand.config, seed) for seed in seeds]
        await fill_windows(robots, errand.config)
        callers: list[Caller] = [robot.act for robot in robots]
        if errand.together > 1:
            firsts = range(0, len(robots), errand.together)
            callers = [Fleet(client, robots[first : first + errand.together]).act for first in firsts]
        await asyncio.sleep(max(0.0, errand.begins_at - time.time()))
        late = max(0.0, time.time() - errand.begins_at)
        heard = _heard(await _loop(callers, errand.seconds), late)
        await asyncio.gather(*(robot.leave() for robot in robots))
        return heard


async def _loop(callers: Sequence[Caller], seconds: float) -> list[Exchange]:
    """What was answered within the time."""
    ends, exchanges = time.perf_counter() + seconds, []

    async def ask(caller: Caller) -> None:
        while time.perf_counter() < ends:
            exchange = await caller()
            if exchange.answered_at < ends:
                exchanges.append(exchange)

    await asyncio.gather(*map(ask, callers))
    return exchanges


def _heard(exchanges: Sequence[Exchange], late_seconds: float) -> Heard:
    timings = [exchange.timing for exchange in exchanges if exchange.timing is not None]
    return Heard(
        latencies_ms=np.array([exchange.latency_ms for exchange in exchanges]),
        steps=sum(exchange.steps for exchange in exchanges),
        timing_ms=np.array(
            [[timing.queue_ms, timing.infer_ms, timing.commit_ms, timing.total_ms] for timing in timings]
        ),
        late_seconds=late_seconds,
    )
