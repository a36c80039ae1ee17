"""PeerResults: what every server did under every load, the median of its turns, as a page of tables and a plot."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import matplotlib as mpl
import numpy as np
from load.peer_load import Sample
from pages.page import markdown_table

mpl.use("agg")
from matplotlib import pyplot as plt  # after the choice of a backend without a screen
from matplotlib.axes import Axes

OURS = "lamo-serve"


@dataclass(frozen=True, order=True)
class Load:
    """A closed loop of so many callers, or an open loop of so many steps per second by all of them."""

    policy: str
    callers: int
    rate: float | None = None


@dataclass(frozen=True)
class Figures:
    """What one server did under one load in one turn.

    Attributes:
        per_second: answered steps.
        p50_ms, p95_ms, p99_ms: latency at the caller; in an open loop from when the step was due.
        cpu_ms: CPU time of all the server's processes per answered step.
        answered: share of the steps; below 1 the open loop was given up and the latencies are lower bounds.
        refused: answers that were no action, per answered step.
        others: cores that other work on the machine kept busy meanwhile.
    """

    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    answered: float
    refused: float
    others: float

    @classmethod
    def of(cls, sample: Sample) -> Figures:
        """The figures of a sample."""
        steps = len(sample.latencies_ms)
        answered = steps - sample.unanswered
        p50, p95, p99 = np.percentile(sample.latencies_ms, (50, 95, 99)).tolist()
        return cls(
            per_second=answered / sample.seconds,
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
            cpu_ms=1000 * sample.cpu_seconds / max(answered, 1),
            answered=answered / steps,
            refused=sample.refused / max(answered, 1),
            others=sample.others_seconds / sample.seconds,
        )

    @classmethod
    def median(cls, turns: Sequence[Figures]) -> Figures:
        """The median of each figure over the turns."""
        return cls(*(statistics.median(getattr(turn, name.name) for turn in turns) for name in fields(cls)))


@dataclass
class PeerResults:
    """Everything one run measured.

    Attributes:
        facts: about the machine, the versions and the run.
        turns: by load and title of the server.
        memory_mb: by policy and title, after the largest load.
    """

    facts: dict[str, str]
    turns: dict[Load, dict[str, list[Figures]]] = field(default_factory=dict)
    memory_mb: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, load: Load, title: str, sample: Sample) -> Figures:
        """Keep one turn's figures."""
        figures = Figures.of(sample)
        self.turns.setdefault(load, {}).setdefault(title, []).append(figures)
        return figures

    def write(self, path: Path) -> None:
        """Write the page, and the plot beside it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.markdown(path.with_suffix(".png").name), encoding="utf-8")
        self._plot(path.with_suffix(".png"))

    def markdown(self, plot: str) -> str:
        """The run as a page."""
        facts = "\n".join(f"- {name}: {value}" for name, value in self.facts.items())
        parts = ["# benchmarks/peers.py", facts, f"![steps/s and p99]({plot})", "## Ratios", self._ratios()]
        for policy in self._policies():
            parts += [f"## {policy}, closed loop", self._closed(policy)]
            parts += [f"## {policy}, open loop", self._open(policy)]
        return "\n\n".join([*parts, "## Memory of all processes, MB", self._memory()]) + "\n"

    def _policies(self) -> list[str]:
        return list(dict.fromkeys(load.policy for load in self.turns))

    def _loads(self, policy: str, *, rated: bool) -> list[Load]:
        return [load for load in self.turns if load.policy == policy and (load.rate is not None) == rated]

    def _medians(self, load: Load) -> dict[str, Figures]:
        return {title: Figures.median(turns) for title, turns in self.turns[load].items()}

    def _ratios(self) -> str:
        """Each of our rows against the best peer of each figure."""
        rows = [
            row
            for load in self.turns
            for title, figures in self._medians(load).items()
            if title.startswith(OURS) and (row := _ratio_row(load, title, figures, self._medians(load)))
        ]
        head = "policy, load, server|steps/s ratio|best peer|p99 ratio|lowest p99|CPU ratio"
        return markdown_table(head, rows)

    def _closed(self, policy: str) -> str:
        rows = [
            [title, str(load.callers), f"{figures.per_second:.1f}", *_row(figures), f"{figures.refused:.3f}"]
            for load in self._loads(policy, rated=False)
            for title, figures in self._medians(load).items()
        ]
        return markdown_table("server|episodes|steps/s|p50 ms|p95|p99|CPU ms|cores others used|refused", rows)

    def _open(self, policy: str) -> str:
        rows = [
            [title, f"{load.rate:g}", f"{100 * figures.answered:.0f} %", *_row(figures)]
            for load in self._loads(policy, rated=True)
            for title, figures in self._medians(load).items()
        ]
        return markdown_table("server|steps/s asked for|answered|p50 ms|p95|p99|CPU ms|cores others used", rows)

    def _memory(self) -> str:
        rows = [
            [f"{policy}, {title}", f"{statistics.median(turns):.0f}"]
            for (policy, title), turns in self.memory_mb.items()
        ]
        return markdown_table("policy, server|PSS MB", rows)

    def _plot(self, path: Path) -> None:
        policies = self._policies()
        figure, axes = plt.subplots(len(policies), 2, figsize=(11, 3.6 * len(policies)), squeeze=False)
        for policy, (left, right) in zip(policies, axes, strict=True):
            self._draw(left, self._loads(policy, rated=False), "episodes, closed loop", lambda f: f.per_second)
            left.set(ylabel="steps/s", title=policy)
            self._draw(right, self._loads(policy, rated=True), "steps/s asked for", lambda f: f.p99_ms)
            right.set(ylabel="p99 ms, from when due", title=policy, yscale="log")
            right.legend(fontsize="small")
        figure.tight_layout()
        figure.savefig(path, dpi=110)
        plt.close(figure)

    def _draw(self, axes: Axes, loads: Sequence[Load], label: str, value: Callable[[Figures], float]) -> None:
        medians = {load.rate or load.callers: self._medians(load) for load in loads}
        for title in dict.fromkeys(title for servers in medians.values() for title in servers):
            points = {place: value(servers[title]) for place, servers in medians.items() if title in servers}
            style = "-" if title.startswith(OURS) else "--"
            axes.plot(list(points), list(points.values()), style, marker="o", label=title)
        axes.set(xlabel=label, xscale="log", xticks=list(medians), xticklabels=[f"{place:g}" for place in medians])
        axes.minorticks_off()


def _row(figures: Figures) -> list[str]:
    lower_bound = ">" if figures.answered < 1 else ""
    latencies = (figures.p50_ms, figures.p95_ms, figures.p99_ms)
    return [*(f"{lower_bound}{value:.4g}" for value in latencies), f"{figures.cpu_ms:.2f}", f"{figures.others:.1f}"]


def _ratio_row(load: Load, title: str, figures: Figures, medians: dict[str, Figures]) -> list[str]:
    """Empty where no peer was measured."""
    peers = {name: peer for name, peer in medians.items() if not name.startswith(OURS)}
    if not peers:
        return []
    fastest = max(peers, key=lambda name: peers[name].per_second)
    lowest = min(peers, key=lambda name: peers[name].p99_ms)
    leanest = min(peer.cpu_ms for peer in peers.values())
    asked = f"{load.callers} episodes" if load.rate is None else f"{load.rate:g} steps/s"
    return [
        f"{load.policy}, {asked}, {title}",
        f"{figures.per_second / peers[fastest].per_second:.2f}" if load.rate is None else "",
        fastest if load.rate is None else "",
        f"{figures.p99_ms / peers[lowest].p99_ms:.2f}",
        lowest,
        f"{figures.cpu_ms / leanest:.2f}",
    ]
