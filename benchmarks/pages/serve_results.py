"""ServeResults: the cells of a run of `serve.py` as a page of tables, one per question, with plots beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from matplotlib.figure import Figure
from pages import serve_plots
from pages.page import markdown_table
from pages.results import PARTS, Cell, EpisodeMemory

THROUGHPUT_NOTE = """\
In process is the policy alone on as many windows, at most 64 in a batch, with the slots and the number of threads\
 that the service gives it, measured before and after the service."""

WAYS_NOTE = """\
64 episodes of the demo policy in a closed loop. A request for many waits for the last of its steps.\
 CPU is per step, ms."""

RATES_NOTE = """\
Open loop: single JSON steps come independently of each other at a fixed rate, spread over 64 episodes, with Redis\
 over TCP. A latency counts from when the step was due. "Beside" is the latency less the inference of the act's own\
 batch, "x no-op" that latency over the no-op route's at the same rate."""

NO_OP_NOTE = """\
`GET /healthz`, through the same client, server and framework: FastAPI routes it, it asks whether the stepping loop\
 makes progress, and answers a JSON object through its model. It reads no body, and waits for neither device nor\
 Redis."""

MEMORY_NOTE = """\
Redis by `MEMORY USAGE`, the ring full. The device's keys and values serve windows that stand still; they are kept\
 while there is room (`--slot-megabytes`), and computed anew where there is none."""


@dataclass
class ServeResults:
    """Everything one run measured; what was not measured is empty and has no table.

    Attributes:
        policies: where each policy's weights come from.
        facts: about the machine and the run.
    """

    policies: dict[str, str]
    facts: dict[str, str]
    throughput: list[Cell] = field(default_factory=list)
    ways: list[Cell] = field(default_factory=list)
    rates: list[Cell] = field(default_factory=list)
    no_ops: list[Cell] = field(default_factory=list)
    no_op_rates: list[Cell] = field(default_factory=list)
    memory: list[EpisodeMemory] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the page and its plots, or all figures as JSON if the file is called so."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
            return
        plots = self._plots(path.stem)
        for (_, name), figure in plots.items():
            figure.savefig(path.with_name(name), dpi=110)
        links = [f"![{title}]({name})" for title, name in plots]
        path.write_text(self.markdown(links), encoding="utf-8")

    def markdown(self, plots: Sequence[str] = ()) -> str:
        """The run as a page."""
        facts = [f"- {name}: {value}" for name, value in (self.facts | self.policies).items()]
        return "\n\n".join(["# benchmarks/serve.py", "\n".join(facts), *plots, *self._sections()]) + "\n"

    def _plots(self, stem: str) -> dict[tuple[str, str], Figure]:
        plots = {}
        if self.throughput:
            figure = serve_plots.by_episodes(self.throughput)
            plots["steps/s by episodes", f"{stem}-episodes.png"] = figure
        if self.rates:
            figure = serve_plots.by_rate([*self.rates, *self.no_op_rates])
            plots["answers and latency by rate", f"{stem}-rates.png"] = figure
        return plots

    def _sections(self) -> Iterator[str]:
        if self.throughput:
            head = "policy|episodes|steps/s|in process|ratio|p50 ms|p95|p99"
            yield _section(
                "Single steps, closed loop", THROUGHPUT_NOTE, head, map(_throughput_row, self.throughput)
            )
        if self.ways:
            head = "way|Redis|steps/s|p50 ms|p95|p99|mean batch|CPU service|CPU Redis|CPU callers"
            yield _section("Ways of asking", WAYS_NOTE, head, map(_way_row, self.ways))
        if self.rates:
            head = "route|asked for|answered/s|p50 ms|p95|p99|p50 beside|x no-op|p99 beside|x no-op"
            yield _section("At a fixed rate", RATES_NOTE, head, self._rate_rows())
        if acts := [*self.throughput, *self.ways, *self.rates]:
            head = "load|mean batch|queue|recall|infer|commit|rest|CPU service|CPU Redis|CPU callers"
            yield _section("Where an act's time goes: means, ms", "", head, map(_split_row, acts))
        if self.no_ops:
            head = "callers|requests/s|p50 ms|p95|p99|CPU service|CPU Redis|CPU callers"
            yield _section("No-op route, closed loop", NO_OP_NOTE, head, map(_no_op_row, self.no_ops))
        if self.memory:
            head = "policy|Redis meta|Redis ring|both|device float32|device bfloat16"
            yield _section("Memory of an episode, bytes", MEMORY_NOTE, head, map(_memory_row, self.memory))

    def _rate_rows(self) -> Iterator[list[str]]:
        for no_op in self.no_op_rates:
            rate = no_op.load.rate
            yield [*_rate_columns(no_op), "", "", "", ""]
            for cell in self.rates:
                if cell.load.rate == rate:
                    yield [*_rate_columns(cell), *_beside(cell, no_op)]


def _section(title: str, note: str, head: str, rows: Iterator[list[str]]) -> str:
    return "\n\n".join(part for part in (f"## {title}", note, markdown_table(head, list(rows))) if part)


def _throughput_row(cell: Cell) -> list[str]:
    speeds = (f"{cell.per_second:.1f}", f"{cell.in_process or 0:.1f}", f"{cell.share:.2f}")
    return [cell.load.title, str(cell.load.callers), *speeds, *_latencies(cell)]


def _way_row(cell: Cell) -> list[str]:
    speed, batch = f"{cell.per_second:.1f}", f"{cell.means['batch_size']:.1f}"
    return [cell.load.way, cell.load.redis, speed, *_latencies(cell), batch, *map(_ms, cell.cpu_ms)]


def _rate_columns(cell: Cell) -> list[str]:
    return [cell.load.title, f"{cell.load.rate:g}", f"{cell.per_second:.0f}", *_latencies(cell)]


def _beside(cell: Cell, no_op: Cell) -> list[str]:
    pairs = ((cell.p50_beside_ms, no_op.p50_ms), (cell.p99_beside_ms, no_op.p99_ms))
    return [text for ours, theirs in pairs for text in (_ms(ours), f"{ours / theirs:.1f}")]


def _split_row(cell: Cell) -> list[str]:
    load = cell.load
    asked = f"{load.callers} episodes" if load.rate is None else f"{load.rate:g} steps/s"
    title = f"{load.title}, {asked}, {load.way}, Redis {load.redis}"
    parts = (*(cell.means[part] for part in PARTS), cell.rest_ms, *cell.cpu_ms)
    return [title, f"{cell.means['batch_size']:.1f}", *map(_ms, parts)]


def _no_op_row(cell: Cell) -> list[str]:
    return [str(cell.load.callers), f"{cell.per_second:.1f}", *_latencies(cell), *map(_ms, cell.cpu_ms)]


def _memory_row(item: EpisodeMemory) -> list[str]:
    slots = (str(item.slot["float32"]), str(item.slot["bfloat16"]))
    return [item.policy, str(item.meta), str(item.ring), str(item.meta + item.ring), *slots]


def _latencies(cell: Cell) -> list[str]:
    return [_ms(cell.p50_ms), _ms(cell.p95_ms), _ms(cell.p99_ms)]


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f}" if milliseconds < 100 else f"{milliseconds:.0f}"
