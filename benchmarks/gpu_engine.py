"""The engine on an accelerator: steps per second by batch, hop and dtype, beside `transformers` and the roofline.

    PYTHONPATH=.:benchmarks python benchmarks/gpu_engine.py [--device cuda] [--quick] [--out FILE]

Needs torch and transformers and nothing else, and ends within eight minutes. Weights are random. Absolute times
count on a GPU; every action is first held against the same policy in float32 on the CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from benchmark_policies import DEMO, GPT2_SMALL
from network.forward import unit
from network.live_windows import LiveWindows, long_lived, measure_cycles
from network.stock import StockTrunk, gpt2

from lamo.config import PolicyConfig
from lamo.model import LamoModel
from lamo.packed import fill_tokens
from lamo.policy import SLOT_BYTES, Policy

SHAPES = {"gpt2-small": GPT2_SMALL, "demo": DEMO}
BATCHES = (1, 8, 32, 64, 128, 256)
HOPS = (1, 2)
"""The window slides, or moves by half its length."""

CHECKED_EPISODES, CHECKED_STEPS = 4, 30
MATRIX, COPIED_NUMBERS = 8192, 1 << 28


@dataclass(frozen=True)
class Peak:
    """What the device does at most: operations and bytes per second."""

    operations: float
    bandwidth: float

    @classmethod
    def measure(cls, device: torch.device, dtype: torch.dtype, scale: int) -> Peak:
        """By a large product and a large copy."""
        size, count = MATRIX // scale, COPIED_NUMBERS // scale**2
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        source = torch.zeros(count, device=device)
        target = torch.empty_like(source)
        return cls(
            2 * size**3 / seconds_of(lambda: left @ right, device),
            2 * source.nbytes / seconds_of(lambda: target.copy_(source), device),
        )


def seconds_of(action: Callable[[], object], device: torch.device, times: int = 10) -> float:
    """The fastest of a few."""
    best = float("inf")
    for _ in range(times):
        synchronize(device)
        began = time.perf_counter()
        action()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return best


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Bench:
    """One run; each part gives lines of the page."""

    def __init__(self, device: torch.device, batches: tuple[int, ...], seconds: float, scale: int) -> None:
        self._device = device
        self._batches = batches
        self._seconds = seconds
        self._scale = scale

    def policies(self, dtype: str) -> list[str]:
        """Steps per second of both shapes."""
        peak = Peak.measure(self._device, getattr(torch, dtype), self._scale)
        lines = [
            f"## {dtype}",
            "",
            f"- peak: {peak.operations / 1e12:.2f} TFLOP/s, {peak.bandwidth / 1e9:.0f} GB/s",
            "",
            "| policy | hop | batch | pass ms | steps/s | of the roofline |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        notes = []
        for name, config in SHAPES.items():
            for part in HOPS:
                chosen = dataclasses.replace(config, hop=1 if part == 1 else config.context_length // part)
                rows, note = self._policy(name, long_lived(chosen), dtype, peak)
                lines += rows
                notes.append(note)
        return [*lines, "", *notes, ""]

    def _policy(self, name: str, config: PolicyConfig, dtype: str, peak: Peak) -> tuple[list[str], str]:
        policy = self._loaded(config, dtype)
        began = time.perf_counter()
        policy.warm_up(max(self._batches))
        captured = time.perf_counter() - began
        note = (
            f"- {name}, hop {config.hop}: captured in {captured:.1f} s; "
            f"largest difference to float32 on the CPU {self._difference(policy, config):.1e}"
        )
        say(note)
        rows = []
        for batch in self._batches:
            live = LiveWindows(policy, batch)
            took = measure_cycles(live, self._seconds)
            work = live.work(getattr(torch, dtype).itemsize)
            least = max(work.operations / peak.operations, work.traffic / peak.bandwidth) / config.hop
            rows.append(
                f"| {name} | {config.hop} | {batch} | {1000 * took:.3f} | {batch / took:.0f} | {least / took:.2f} |"
            )
            say(rows[-1])
        return rows, note

    def _loaded(self, config: PolicyConfig, dtype: str, device: str | None = None) -> Policy:
        torch.manual_seed(0)
        model = LamoModel(config)
        where = str(self._device) if device is None else device
        return Policy(config, unit(config), model, device=where, dtype=dtype, slot_bytes=SLOT_BYTES)

    def _difference(self, policy: Policy, config: PolicyConfig) -> float:
        """The largest between its actions and the CPU's on the same windows."""
        exact = self._loaded(config, "float32", "cpu")
        generator = np.random.default_rng(1)
        windows = [exact.begin(config.target_returns[0]) for _ in range(CHECKED_EPISODES)]
        worst = 0.0
        for _ in range(CHECKED_STEPS):
            shown = generator.standard_normal((CHECKED_EPISODES, config.observation.size)).astype(np.float32)
            seen = [window.observe(row, 1.0) for window, row in zip(windows, shown, strict=True)]
            expected = exact.propose(seen)
            got = policy.propose(seen, [("checked", index) for index in range(CHECKED_EPISODES)])
            worst = max(worst, float(np.abs(got - expected).max()))
            windows = [window.propose(action) for window, action in zip(seen, expected, strict=True)]
        return worst

    def stock(self, dtype: str) -> list[str]:
        """`transformers`' trunk alone, eager with SDPA, tokens ready on the device."""
        lines = [
            f"## transformers' GPT2Model, gpt2-small, {dtype}",
            "",
            "| batch | whole window ms | three tokens on a cache ms |",
            "| ---: | ---: | ---: |",
        ]
        model = gpt2(GPT2_SMALL.trunk).to(device=self._device, dtype=getattr(torch, dtype))
        length = fill_tokens(GPT2_SMALL.context_length)
        for batch in self._batches:
            shape = (batch, length, GPT2_SMALL.trunk.n_embd)
            stock = StockTrunk(model, torch.randn(shape, device=self._device, dtype=getattr(torch, dtype)))
            stock.remember()
            took = [1000 * seconds_of(action, self._device) for action in (stock.fill, stock.step)]
            lines.append(f"| {batch} | {took[0]:.3f} | {took[1]:.3f} |")
            say(lines[-1])
        return [*lines, ""]


def describe(device: torch.device) -> dict[str, str]:
    """The machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    return {
        "command": f"python {' '.join(sys.argv)}",
        "device": f"{device}: {name}",
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    device = torch.device(options.device)
    quick = bool(options.quick)
    bench = Bench(device, (1, 8) if quick else BATCHES, 0.2 if quick else options.seconds, 16 if quick else 1)
    lines = ["# benchmarks/gpu_engine.py", ""]
    lines += [f"- {name}: {value}" for name, value in describe(device).items()] + [""]
    for dtype in options.dtypes:
        lines += bench.policies(dtype)
        lines += bench.stock(dtype)
    page = "\n".join(lines)
    print(page)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script itself")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], help="what networks compute in")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="two batches, a tenth of the time")
    parser.add_argument("--out", type=Path, help="also write the page here")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress; the page alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
