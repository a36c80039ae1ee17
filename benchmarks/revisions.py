"""What a robot at 100 Hz notices of new revisions that are loaded while it is served.

    python benchmarks/revisions.py [--shapes demo gpt2-small] [--device cpu] [--workers 0 1] [--out FILE]

A real `lamo-serve` is asked for a step every 10 ms, or as fast as it answers. Its policy gets a new revision again
and again; a load lasts from when `current` names it until `GET /policies` does.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import torch
from benchmark_policies import DEMO, GPT2_SMALL
from load.service_process import serving
from pages.page import describe_machine, markdown_table

from lamo import checkpoint
from lamo.config import PolicyConfig
from lamo.network import build
from lamo.normalization import Normalization

SHAPES = {"demo": DEMO, "gpt2-small": GPT2_SMALL}

PERIOD_SECONDS = 0.01

QUIET_SECONDS = 5.0

LOOK_SECONDS = 0.25

POLL_SECONDS = 0.5

HEAD = "policy|processes|loads|a load takes s|steps|p50 ms|p99|max|of it loading: steps|p50|p99|max"


@dataclass
class Robot:
    """One episode after the other, a step every period; remembers how long each answer took."""

    client: httpx.Client
    config: PolicyConfig
    waited: list[float] = field(default_factory=list)
    _due: float = 0.0

    def drive(self, seconds: float) -> list[float]:
        """How long each answer took within a while, in milliseconds."""
        first, until = len(self.waited), time.monotonic() + seconds
        while time.monotonic() < until:
            self._step(len(self.waited))
        return self.waited[first:]

    def _step(self, number: int) -> None:
        episode, step = divmod(number, self.config.max_timesteps)
        if step == 0:
            self.client.put(f"/episodes/robot-{episode}", json={"policy": "policy"}).raise_for_status()
        self._due = max(self._due + PERIOD_SECONDS, time.monotonic())
        time.sleep(max(0.0, self._due - time.monotonic()))
        began = time.monotonic()
        body = {"step": step, "observation": [0.1] * self.config.observation.size}
        self.client.post(f"/episodes/robot-{episode}/act", json=body).raise_for_status()
        self.waited.append(1000 * (time.monotonic() - began))


def write(directory: Path, config: PolicyConfig, seed: int) -> str:
    """Write a checkpoint with random weights and say its revision."""
    torch.manual_seed(seed)
    unit = Normalization(np.zeros(config.observation.size), np.ones(config.observation.size))
    return checkpoint.write(
        directory, config, build(config).state_dict(), unit, training={}, card="# for a benchmark\n"
    ).revision


def measure(shape: str, workers: int, options: argparse.Namespace) -> list[str]:
    """One row."""
    config = SHAPES[shape]
    quiet, loading, seconds = [], [], []
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        policy = folder / "policies" / "policy"
        revisions = [write(folder / f"made-{seed}", config, seed) for seed in range(options.loads + 1)]
        checkpoint.publish(folder / "made-0", policy)
        arguments = (
            "--device", options.device, "--workers", str(workers), "--policies-poll-seconds", str(POLL_SECONDS),
        )  # fmt: skip
        with (
            serving(folder / "policies", folder / "data", *arguments) as service,
            httpx.Client(base_url=service.url, timeout=60) as client,
        ):
            robot = Robot(client, config)
            robot.drive(QUIET_SECONDS)
            for made, revision in zip(itertools.count(1), revisions[1:], strict=False):
                quiet += robot.drive(QUIET_SECONDS)
                checkpoint.publish(folder / f"made-{made}", policy)
                began = time.monotonic()
                while client.get("/policies/policy").json()["revision"] != revision:
                    loading += robot.drive(LOOK_SECONDS)
                seconds.append(time.monotonic() - began)
    processes = f"{workers} HTTP workers, 1 engine" if workers else "1 for both"
    return [shape, processes, str(options.loads), f"{np.mean(seconds):.1f}", *_figures(quiet), *_figures(loading)]


def _figures(waited: list[float]) -> list[str]:
    p50, p99 = np.percentile(waited, (50, 99))
    return [str(len(waited)), f"{p50:.1f}", f"{p99:.1f}", f"{max(waited):.1f}"]


def main() -> None:
    """Measure and print the page."""
    options = _parse_options()
    facts = [f"- {name}: {value}" for name, value in describe_machine(None).items()]
    if options.device.startswith("cuda"):
        facts.append(f"- GPU: {torch.cuda.get_device_name()}")
    rows = [measure(shape, workers, options) for shape in options.shapes for workers in options.workers]
    page = "\n\n".join(["# benchmarks/revisions.py", "\n".join(facts), markdown_table(HEAD, rows)]) + "\n"
    print(page, end="")
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=["demo", "gpt2-small"])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1], help="numbers of HTTP workers")
    parser.add_argument("--loads", type=int, default=5, help="revisions that are loaded, for each row")
    parser.add_argument("--device", default="cpu", help="where policies run")
    parser.add_argument("--out", type=Path, help="also write the page here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
