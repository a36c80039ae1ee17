"""Metrics: what Prometheus reads; the names are part of the contract."""

from __future__ import annotations

from pathlib import Path

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
        registry = self.registry
        self.act_seconds = Histogram(
            "lamo_act_seconds",
            "From receipt of an act to its answer",
            ("policy", "owner", "code"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._act_seconds: dict[tuple[str, ...], Histogram] = {}
        self.queue_seconds = self._seconds("lamo_queue_seconds", "An act's wait until a batch took it")
        self.recall_seconds = self._seconds("lamo_recall_seconds", "Reading a batch's missing windows from Redis")
        self.infer_seconds = self._seconds("lamo_infer_seconds", "One forward pass, collation included")
        self.commit_seconds = self._seconds("lamo_commit_seconds", "Committing a batch to Redis")
        self.queue_depth = Gauge(
            "lamo_queue_depth", "Acts waiting for a batch", registry=registry, multiprocess_mode="livesum"
        )
        self.batch_size = Histogram("lamo_batch_size", "Acts in a forward pass", buckets=_ROWS, registry=registry)
        self.steps = Counter("lamo_steps_total", "Steps committed", registry=registry)
        self.missed = Counter(
            "lamo_missed_total", "Timesteps recorded that passed without an answer", registry=registry
        )
        self.replays = Counter("lamo_replays_total", "Acts answered from the record", registry=registry)
        self.conflicts = Counter("lamo_conflicts_total", "Acts and ends refused with 409", registry=registry)
        self.refusals = Counter(
            "lamo_refusals_total", "Requests refused, by kind of error", ("reason",), registry=registry
        )
        self.active_episodes = Gauge(
            "lamo_active_episodes",
            "Episodes under way whose window this engine holds",
            ("policy", "revision"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.cache_hits = Counter("lamo_cache_hits_total", "Acts whose window the engine held", registry=registry)
        self.cache_misses = Counter("lamo_cache_misses_total", "Acts whose episode was read", registry=registry)
        self.redis_up = Gauge(
            "lamo_redis_up",
            "Whether Redis answered the last command",
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self.policy_info = Gauge(
            "lamo_policy_info",
            "1 for the revision of each policy that new episodes get, 0 for one that they got before",
            ("policy", "revision", "task", "device", "dtype", "hop"),
            registry=registry,
            multiprocess_mode="livemax",
        )

        self.policy_load_failures = Counter(
            "lamo_policy_load_failures_total",
            "Revisions found on disk that could not be loaded while serving",
            registry=registry,
        )

    def act_seconds_of(self, policy: str, owner: str, status: int) -> Histogram:
        """`act_seconds` with its labels; looking them up costs more than counting."""
        labels = (policy, owner, str(status))
        if labels not in self._act_seconds:
            self._act_seconds[labels] = self.act_seconds.labels(*labels)
        return self._act_seconds[labels]

    def _seconds(self, name: str, documentation: str) -> Histogram:
        return Histogram(name, documentation, buckets=_SECONDS, registry=self.registry)

    def render(self) -> bytes:
        """The exposition text."""
        if self._folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._folder))  # type: ignore[no-untyped-call]
        return generate_latest(together)
