"""The engine in process, without HTTP and Redis: steps per second, beside the hardware's limits and `transformers`.

    python benchmarks/engine.py [--only steps stock maps choices] [--quick] [--compile] [--out FILE]

Every section measures in turns and keeps the fastest, since whatever else a machine does only slows a pass down.
Weights are random except those whose int8 error is stated; they cost what trained ones cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import torch
from benchmark_policies import DEMO, GPT2_SMALL
from network.choices import (
    compiled_table,
    measure_compile,
    measure_start,
    measure_threads,
    starts_table,
    threads_table,
)
from network.forward import unit
from network.live_windows import LiveWindows, long_lived, measure_cycles
from network.maps import int8_errors, maps_table, measure_maps
from network.roofline import Peak
from network.stock import compare, comparison_table
from pages.engine_page import Cell, cells_table, plot_cells, standing_table
from pages.page import describe_machine

from lamo.config import PolicyConfig
from lamo.heap import keep_freed_memory
from lamo.linear import computing_dtype
from lamo.model import LamoModel
from lamo.policy import DTYPES, SLOT_BYTES, Policy
from lamo.trunk import PretrainedTrunk

SHAPES = {"demo": DEMO, "gpt2-small": GPT2_SMALL}
SEED_LM = Path(__file__).parents[1] / "training" / "seed_lm"
"""Trained weights that are at hand everywhere."""

SECTIONS = ("steps", "stock", "maps", "choices")

LARGE, LARGE_BATCH = 10_000_000, 32
"""Networks of more parameters are asked for no larger batch than this: one pass takes seconds."""

PEAK_SECONDS = 2.0
"""Not shortened: a peak that is measured too low makes every share of it too high."""

LAYERS = ("attention.q", "attention.proj", "fc", "proj")
"""Maps of the seed language model's first block whose int8 error is stated."""


class Bench:
    """What one run measures, section by section; each gives its part of the page."""

    def __init__(self, batches: list[int], seconds: float, compiling: bool) -> None:
        self._batches = batches
        self._seconds = seconds
        self._compiling = compiling
        self.cells: list[Cell] = []

    def steps(self) -> str:
        """Steps per second by batch, hop and dtype."""
        peaks = [self._policy(name, config) for name, config in SHAPES.items()]
        tables = (cells_table(self.cells), "## Standing against sliding windows", standing_table(self.cells))
        return "\n\n".join(["## Steps", "\n".join(peaks), *tables])

    def _policy(self, name: str, config: PolicyConfig) -> str:
        """Measure a policy; says what the machine does at most with weights of that size."""
        weights = 4 * weight_count(config)
        peak = Peak.measure(weights, PEAK_SECONDS)
        for dtype in DTYPES:
            for hop in (1, config.context_length // 2):
                self._hop(name, long_lived(dataclasses.replace(config, hop=hop)), dtype, peak)
        return (
            f"- {name}: {peak.operations / 1e9:.0f} GFLOP/s in float32; {weights / 1e6:.0f} MB of float32 weights, "
            f"read at {peak.bandwidth / 1e9:.1f} GB/s"
        )

    def _hop(self, name: str, config: PolicyConfig, dtype: str, peak: Peak) -> None:
        torch.manual_seed(0)
        policy = Policy(config, unit(config), LamoModel(config), dtype=dtype, slot_bytes=SLOT_BYTES)
        itemsize = computing_dtype(policy.device, DTYPES[dtype]).itemsize
        for rows in self._affordable(config, dtype):
            live = LiveWindows(policy, rows)
            took = measure_cycles(live, self._seconds)
            work = live.work(itemsize)
            least = peak.seconds(work) / config.hop
            self.cells.append(Cell(name, dtype, config.hop, rows, took, least, peak.bound(work)))
            say(f"{name}, {dtype}, hop {config.hop}, batch {rows}: {rows / took:.1f} steps/s")

    def _affordable(self, config: PolicyConfig, dtype: str = "float32") -> list[int]:
        if computing_dtype(torch.device("cpu"), DTYPES[dtype]) is not DTYPES[dtype]:
            return [1]  # here it is float32 again, and transformers takes half a minute for a larger batch
        large = weight_count(config) > LARGE
        return [rows for rows in self._batches if rows <= LARGE_BATCH or not large]

    def stock(self) -> str:
        """This project's trunk beside `transformers`'."""
        comparisons = []
        for name, config in SHAPES.items():
            for dtype in DTYPES:
                for rows in self._affordable(config, dtype):
                    say(f"stock transformers, {name}, {dtype}, batch {rows}")
                    comparisons += compare(name, config, dtype, rows, self._seconds)
        return f"## Beside transformers' GPT2Model\n\n{comparison_table(comparisons)}"

    def maps(self) -> str:
        """One linear map in every way."""
        say("maps")
        table = maps_table(measure_maps(self._seconds / 10))
        block = PretrainedTrunk.load(str(SEED_LM)).trunk.blocks[0]
        errors = int8_errors({layer: block.get_submodule(layer).weight for layer in LAYERS})
        stated = ", ".join(f"{layer} {100 * error:.2f} %" for layer, error in errors.items())
        note = f"Error of int8 weights, root mean square, in the seed language model's first block: {stated}."
        return f"## One linear map, microseconds\n\n{table}\n\n{note}"

    def choices(self) -> str:
        """Threads, starts and, if asked for, torch.compile."""
        say("threads and starts")
        count = torch.get_num_threads()
        pairs = [
            pair
            for name, config in SHAPES.items()
            for rows in self._affordable(config)
            for pair in measure_threads(name, config, rows, count, self._seconds)
        ]
        threads = f"## Threads\n\n{threads_table(pairs, count)}"
        starts = starts_table([measure_start(name, config) for name, config in SHAPES.items()])
        parts = [threads] if count > 1 else []
        return "\n\n".join([*parts, f"## Start\n\n{starts}", *([self._compile()] if self._compiling else [])])

    def _compile(self) -> str:
        say("torch.compile")
        pairs = [measure_compile(name, config, 1, self._seconds) for name, config in SHAPES.items()]
        return f"## torch.compile\n\n{compiled_table(pairs)}"


def weight_count(config: PolicyConfig) -> int:
    """Weights of the blocks."""
    trunk = config.trunk
    return trunk.n_layer * (4 * trunk.n_embd**2 + 2 * trunk.n_embd * trunk.n_inner)


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the service does
    machine = describe_machine(options.threads)
    batches = [1, LARGE_BATCH] if options.quick else options.batches
    bench = Bench(batches, 0.2 if options.quick else options.seconds, options.compile)
    facts = "\n".join(f"- {name}: {value}" for name, value in (machine | widening()).items())
    parts = [getattr(bench, section)() for section in SECTIONS if section in options.only]
    page = "\n\n".join(["# benchmarks/engine.py", facts, *parts])
    print(page)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page + "\n", encoding="utf-8")
        if bench.cells:
            plot_cells(bench.cells, options.out.with_suffix(".png"))


def widening() -> dict[str, str]:
    """How arithmetic is done here where weights are kept in bfloat16."""
    computing = computing_dtype(torch.device("cpu"), torch.bfloat16)
    return {"bfloat16": f"kept rounded, computed in {str(computing).removeprefix('torch.')} on this CPU"}


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--only", nargs="+", choices=SECTIONS, default=SECTIONS, help="sections to measure")
    add("--batches", type=int, nargs="+", default=[1, 8, 32, 64], help="windows asked for at once")
    add("--seconds", type=float, default=1.0, help="of each measurement, after warm-up")
    add("--quick", action="store_true", help="two batches, a fifth of the time")
    add("--compile", action="store_true", help="torch.compile too, which takes minutes")
    add("--threads", type=int, help="CPU threads of a forward pass")
    add("--out", type=Path, help="also write the page here, and its plot beside it")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress; the page alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
