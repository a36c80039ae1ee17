"""Results: what one load on the service cost, in figures, and the machine that a page of them was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from load.closed_loop import Sample

from lamo.wire import Timing

PARTS = ("queue_ms", "recall_ms", "infer_ms", "commit_ms")


@dataclass(frozen=True)
class Load:
    """One load on one route.

    Attributes:
        title: what was asked: a policy and how it is served, or the no-op route.
        callers: closed loop: how many asked at once; for a policy, concurrent episodes.
        rate: open loop: requests per second.
        way: how requests were written and grouped.
        redis: where the service keeps its episodes.
    """

    title: str
    callers: int
    rate: float | None = None
    way: str = "single, JSON"
    redis: str = "embedded"


@dataclass(frozen=True)
class Cell:
    """What came of a load.

    Attributes:
        answers, per_second: how many steps were measured and how fast they came.
        p50_ms, p95_ms, p99_ms, mean_ms: latency of a request at the caller.
        p50_beside_ms, p99_beside_ms: latency less the inference of the act's own batch.
        means: of the service's own timing of acts, batch size included; empty for the no-op route.
        cpu_ms: CPU time per step of the service, its Redis and the callers.
        in_process: steps per second of the same policy alone, None where that was not measured.
    """

    load: Load
    answers: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p50_beside_ms: float
    p99_beside_ms: float
    mean_ms: float
    means: dict[str, float]
    cpu_ms: tuple[float, ...]
    in_process: float | None

    @classmethod
    def of(cls, load: Load, sample: Sample, in_process: float | None = None) -> Cell:
        """The figures of a sample."""
        latencies = np.array([exchange.latency_ms for exchange in sample.exchanges])
        timings = [exchange.timing for exchange in sample.exchanges if exchange.timing is not None]
        beside = latencies - np.array([timing.infer_ms for timing in timings]) if timings else latencies
        p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).tolist()
        p50_beside, p99_beside = np.percentile(beside, (50, 99)).tolist()
        return cls(
            load=load,
            answers=sample.steps,
            per_second=sample.rate,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            p50_beside_ms=p50_beside,
            p99_beside_ms=p99_beside,
            mean_ms=float(latencies.mean()),
            means=_means(timings),
            cpu_ms=tuple((1000 * sample.cpu_seconds / sample.steps).tolist()),
            in_process=in_process,
        )

    @property
    def share(self) -> float:
        """Of the in-process speed."""
        return self.per_second / (self.in_process or float("nan"))

    @property
    def rest_ms(self) -> float:
        """The mean latency that is in none of the service's parts: HTTP, validation, event loops, the client."""
        return self.mean_ms - sum(self.means[part] for part in PARTS)


@dataclass(frozen=True)
class EpisodeMemory:
    """Bytes of an episode.

    Attributes:
        meta, ring: its two keys in Redis, by MEMORY USAGE, its ring full.
        slot: its keys and values on the device, by the dtype that the policy computes in.
    """

    policy: str
    meta: int
    ring: int
    slot: dict[str, int]


def _means(timings: Sequence[Timing]) -> dict[str, float]:
    names = (*PARTS, "total_ms", "batch_size") if timings else ()
    return {name: float(np.mean([getattr(timing, name) for timing in timings])) for name in names}
