"""Open loop: requests that come at a fixed rate whether or not earlier ones are answered.

They come as those of many robots who know nothing of each other: independently, at exponential distances (a Poisson
process). A latency counts from when a request was due, so a service that falls behind is not spared the requests
that a waiting caller would not have sent (coordinated omission).
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import time
from collections.abc import Sequence

import numpy as np
from load.closed_loop import Caller, Sample
from load.service_process import ServiceProcess
from numpy.typing import NDArray


async def open_loop(service: ServiceProcess, callers: Sequence[Caller], rate: float, seconds: float) -> Sample:
    """So many requests per second for so long; those under way at the end are waited for and counted.

    Each goes to the caller who has been free the longest, since an episode has one step under way at a time; while
    all are busy it waits, and the wait counts.
    """
    sample = Sample()
    free: asyncio.Queue[Caller] = asyncio.Queue()
    for caller in callers:
        free.put_nowait(caller)
    freeze_heap()
    cpu_before, began = service.cpu_seconds(), time.perf_counter()

    async def ask(due: float) -> None:
        caller = await free.get()
        exchange = await caller()
        sample.exchanges.append(dataclasses.replace(exchange, sent_at=due))
        free.put_nowait(caller)

    async with asyncio.TaskGroup() as asking:
        for due in (began + arrivals(rate, seconds)).tolist():
            # In a thread, since the event loop's own timers are late by up to a millisecond.
            await asyncio.to_thread(time.sleep, max(0.0, due - time.perf_counter()))
            asking.create_task(ask(due))
    sample.seconds = time.perf_counter() - began
    sample.cpu_seconds = service.cpu_seconds() - cpu_before
    return sample


def freeze_heap() -> None:
    """Leave what is loaded by now out of garbage collections: one over torch's modules would stop whoever asks, and
    all its clocks, for a fifth of a second, which is then taken for the service's."""
    gc.collect()
    gc.freeze()


def arrivals(rate: float, seconds: float) -> NDArray[np.float64]:  # [n]
    """When requests are due, in seconds from the beginning; the same for every route asked at this rate."""
    distances = np.random.default_rng(0).exponential(1 / rate, size=round(2 * rate * seconds) + 20)
    due = np.cumsum(distances)
    return due[due < seconds]
