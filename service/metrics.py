"""Metrics: what Prometheus reads; the names are part of the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_Together = Literal["livesum", "livemax", "livemostrecent"]
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """One service's metrics in a registry of their own. Warm-up is not counted.

    Args:
        folder: where the processes of one service count together, the `PROMETHEUS_MULTIPROC_DIR` they were started
            with; None for a service of one process. What is told is the same, and from any process all of it:
            counters and histograms of dead processes stay, their gauges go.
    """

    def __init__(self, folder: Path | None = None) -> None:
        # Several processes have no one time of creation to tell.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._folder = folder
        self.registry = CollectorRegistry()
        self.act_seconds = self._seconds(
            "lamo_act_seconds", "From receipt of an act to its answer", "policy", "owner", "code"
        )
        self._act_seconds: dict[tuple[str, ...], Histogram] = {}
        self.queue_seconds = self._seconds("lamo_queue_seconds", "An act's wait until a batch took it")
        self.recall_seconds = self._seconds("lamo_recall_seconds", "Reading a batch's missing windows from Redis")
        self.infer_seconds = self._seconds("lamo_infer_seconds", "One forward pass, collation included")
        self.commit_seconds = self._seconds("lamo_commit_seconds", "Committing a batch to Redis")
        self.queue_depth = self._gauge("lamo_queue_depth", "Acts waiting for a batch", "livesum")
        self.batch_size = Histogram(
            "lamo_batch_size", "Acts in a forward pass", buckets=_ROWS, registry=self.registry
        )
        self.steps = self._counter("lamo_steps_total", "Steps committed")
        self.missed = self._counter("lamo_missed_total", "Timesteps recorded that passed without an answer")
        self.replays = self._counter("lamo_replays_total", "Acts answered from the record")
        self.conflicts = self._counter("lamo_conflicts_total", "Acts and ends refused with 409")
        self.refusals = self._counter("lamo_refusals_total", "Requests refused, by kind of error", "reason")
        self.active_episodes = self._gauge(
            "lamo_active_episodes",
            "Episodes under way whose window this engine holds",
            "livesum",
            "policy",
            "revision",
        )
        self.cache_hits = self._counter("lamo_cache_hits_total", "Acts whose window the engine held")
        self.cache_misses = self._counter("lamo_cache_misses_total", "Acts whose episode was read")
        self.redis_up = self._gauge("lamo_redis_up", "Whether Redis answered the last command", "livemostrecent")
        self.policy_info = self._gauge(
            "lamo_policy_info",
            "1 for the revision of each policy that new episodes get, 0 for one that they got before",
            "livemax",
            *("policy", "revision", "task", "device", "dtype", "hop"),
        )
        self.policy_load_failures = self._counter(
            "lamo_policy_load_failures_total", "Revisions found on disk that could not be loaded while serving"
        )

    def act_seconds_of(self, policy: str, owner: str, status: int) -> Histogram:
        """`act_seconds` with its labels; looking them up costs more than counting."""
        labels = (policy, owner, str(status))
        if labels not in self._act_seconds:
            self._act_seconds[labels] = self.act_seconds.labels(*labels)
        return self._act_seconds[labels]

    def render(self) -> bytes:
        """The exposition text."""
        if self._folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(together)

    def _seconds(self, name: str, documentation: str, *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, buckets=_SECONDS, registry=self.registry)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, together: _Together, *labels: str) -> Gauge:
        """A gauge that several processes tell `together`: as the sum, the largest or the newest of the living."""
        return Gauge(name, documentation, labels, registry=self.registry, multiprocess_mode=together)
