"""Results: the cells of a run as a Markdown page or JSON, with the machine they were measured on."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from closed_loop import Sample

from lamo.wire import Timing

PARTS = ("queue_ms", "recall_ms", "infer_ms", "commit_ms")


@dataclass(frozen=True)
class Cell:
    """One load on one route.

    Attributes:
        title: what was asked: a policy and how it is served, or the no-op route.
        callers: how many asked at once; for a policy, concurrent episodes.
        answers, per_second: how many were measured and how fast they came.
        p50_ms, p95_ms, p99_ms: latency at the caller.
        p50_beside_ms, p99_beside_ms: latency less the inference of the act's own batch.
        means: of the service's own timing of acts, batch size included; empty for the no-op route.
        cpu_ms: CPU time per answer of the service, its Redis and the callers.
        in_process: steps per second of the same policy alone, None for the no-op route.
    """

    title: str
    callers: int
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
    def of(cls, title: str, callers: int, sample: Sample, in_process: float | None = None) -> Cell:
        """The figures of a sample."""
        latencies = np.array([exchange.latency_ms for exchange in sample.exchanges])
        timings = [exchange.timing for exchange in sample.exchanges if exchange.timing is not None]
        beside = latencies - np.array([timing.infer_ms for timing in timings]) if timings else latencies
        p50, p95, p99 = np.percentile(latencies, (50, 95, 99)).tolist()
        p50_beside, p99_beside = np.percentile(beside, (50, 99)).tolist()
        return cls(
            title=title,
            callers=callers,
            answers=len(latencies),
            per_second=sample.rate,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            p50_beside_ms=p50_beside,
            p99_beside_ms=p99_beside,
            mean_ms=float(latencies.mean()),
            means=_means(timings),
            cpu_ms=tuple((1000 * sample.cpu_seconds / len(latencies)).tolist()),
            in_process=in_process,
        )

    @property
    def rest_ms(self) -> float:
        """The mean latency that is in none of the service's parts: HTTP, validation, event loops, the client."""
        return self.mean_ms - sum(self.means[part] for part in PARTS)


@dataclass(frozen=True)
class EpisodeMemory:
    """Bytes of an episode's two keys in Redis, by MEMORY USAGE, its ring full."""

    policy: str
    meta: int
    ring: int


@dataclass
class Results:
    """Everything one run measured."""

    policies: dict[str, str]
    seconds: float
    machine: dict[str, str]
    acts: list[Cell] = field(default_factory=list)
    no_ops: list[Cell] = field(default_factory=list)
    memory: list[EpisodeMemory] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write JSON if the file is called so, else Markdown."""
        text = json.dumps(asdict(self), indent=2) + "\n" if path.suffix == ".json" else self.markdown()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def markdown(self) -> str:
        """The run as a page."""
        facts = [f"- {name}: {value}" for name, value in (self.machine | self.policies).items()]
        parts = [
            "# benchmarks/serve.py",
            "\n".join(facts),
            self._acts(),
            self._split(),
            self._no_ops(),
            self._overhead(),
        ]
        return "\n\n".join([*parts, self._memory()]) + "\n"

    def _acts(self) -> str:
        head = "policy|episodes|steps/s|in process|ratio|p50 ms|p95|p99"
        return f"## Acts\n\n{markdown_table(head, [_act_row(cell) for cell in self.acts])}"

    def _split(self) -> str:
        head = "policy|episodes|mean batch|queue|recall|infer|commit|rest|CPU service|CPU Redis|CPU callers"
        rows = [_split_row(cell) for cell in self.acts]
        return f"## Where an act's time goes: means, ms\n\n{markdown_table(head, rows)}"

    def _no_ops(self) -> str:
        rows = [
            [str(cell.callers), f"{cell.per_second:.1f}", *_latencies(cell), *map(_ms, cell.cpu_ms)]
            for cell in self.no_ops
        ]
        head = "callers|requests/s|p50 ms|p95|p99|CPU service|CPU Redis|CPU callers"
        return f"## No-op route: GET /healthz\n\n{markdown_table(head, rows)}"

    def _overhead(self) -> str:
        """At one episode nobody waits for another's batch, so what is left beside inference is overhead."""
        no_op = min(self.no_ops, key=lambda cell: cell.callers)
        rows = [_overhead_row(cell, no_op) for cell in self.acts if cell.callers == no_op.callers]
        head = "policy|p50 ms|x no-op|p99 ms|x no-op"
        return f"## Latency beside inference, episodes: {no_op.callers}\n\n{markdown_table(head, rows)}"

    def _memory(self) -> str:
        rows = [[item.policy, str(item.meta), str(item.ring), str(item.meta + item.ring)] for item in self.memory]
        return f"## Redis memory of an episode, bytes\n\n{markdown_table('policy|meta|ring|both', rows)}"


def describe_machine(threads: int | None) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "torch": f"{torch.__version__}, {threads or torch.get_num_threads()} threads",
    }


def _act_row(cell: Cell) -> list[str]:
    alone = cell.in_process or float("nan")
    speeds = (f"{cell.per_second:.1f}", f"{alone:.1f}", f"{cell.per_second / alone:.2f}")
    return [cell.title, str(cell.callers), *speeds, *_latencies(cell)]


def _split_row(cell: Cell) -> list[str]:
    parts = (*(cell.means[part] for part in PARTS), cell.rest_ms, *cell.cpu_ms)
    return [cell.title, str(cell.callers), f"{cell.means['batch_size']:.1f}", *map(_ms, parts)]


def _latencies(cell: Cell) -> list[str]:
    return [_ms(cell.p50_ms), _ms(cell.p95_ms), _ms(cell.p99_ms)]


def _overhead_row(cell: Cell, no_op: Cell) -> list[str]:
    pairs = ((cell.p50_beside_ms, no_op.p50_ms), (cell.p99_beside_ms, no_op.p99_ms))
    return [cell.title, *(text for ours, theirs in pairs for text in (_ms(ours), f"{ours / theirs:.1f}"))]


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _means(timings: Sequence[Timing]) -> dict[str, float]:
    names = (*PARTS, "total_ms", "batch_size") if timings else ()
    return {name: float(np.mean([getattr(timing, name) for timing in timings])) for name in names}


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:.0f}"


def markdown_table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """A table whose titles are separated by |; all columns but the first hold numbers."""
    titles = head.split("|")
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
