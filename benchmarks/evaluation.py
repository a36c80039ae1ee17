"""Evaluation over HTTP against evaluation in this process: steps per second with many environments side by side.

    python benchmarks/evaluation.py [--only demo] [--parallel 64] [--steps N] [--threads N] [--out FILE]

Both play `lamo.rollout` with the same policy in environments that cost nothing, so what is compared is the way to
the policy alone; simulators that cost something bring the two closer together. The service is a real `lamo-serve`
with its private Redis. The rounds of the three alternate, and the best of each counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_policies import GPT2_SMALL, write_demo, write_random
from load.service_process import serving
from pages.page import describe_machine

from clients.policy_client import AsyncPolicyClient
from clients.remote_agent import RemoteAgent
from lamo.agent import PolicyAgent
from lamo.config import PolicyConfig
from lamo.policy import SLOT_BYTES, Policy
from lamo.rollout import Agent, EpisodePlan, play

STEPS = {"demo": 60, "gpt2-small": 6}
"""Of each episode. GPT-2 small's 64 windows take seconds per step once they are full; short ones are the harder."""
ROUNDS = 3
DEADLINE_SECONDS = 300.0


class Idle:
    """An environment that does nothing but show numbers drawn at random."""

    def __init__(self, config: PolicyConfig, steps: int) -> None:
        self._shown = np.random.default_rng(0).standard_normal((steps + 1, *config.observation.shape))
        self._step = 0

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin."""
        self._step = 0
        return self._shown[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Show the next numbers."""
        self._step += 1
        return self._shown[self._step], 0.0, False, False, {}

    def render(self) -> None:
        """Nothing to see."""

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class Bench:
    """One policy's comparison."""

    config: PolicyConfig
    parallel: int
    steps: int

    def rate(self, agent: Agent) -> float:
        """Steps per second of one rollout of all environments."""
        plans = [EpisodePlan(self.config.target_returns[0], seed) for seed in range(self.parallel)]
        began = time.perf_counter()
        make_environment = partial(Idle, self.config, self.steps)
        play(agent, make_environment, plans, parallel=self.parallel, max_timesteps=self.steps)
        return self.parallel * self.steps / (time.perf_counter() - began)


@contextmanager
def agents(folder: Path, name: str, threads: int | None) -> Iterator[dict[str, Agent]]:
    """The same policy in this process, and behind a service in either encoding."""
    options = [] if threads is None else ["--threads", str(threads)]
    with ExitStack() as stack:
        service = stack.enter_context(serving(folder / name, Path(tempfile.mkdtemp(dir=folder)), *options))
        remote = {
            f"HTTP, {encoding}": stack.enter_context(
                RemoteAgent(
                    AsyncPolicyClient(service.url, deadline_seconds=DEADLINE_SECONDS, encoding=encoding), name
                )
            )
            for encoding in ("json", "msgpack")
        }
        yield {"in process": PolicyAgent(Policy.load(folder / name / name, slot_bytes=SLOT_BYTES)), **remote}


def measure(bench: Bench, players: dict[str, Agent]) -> dict[str, float]:
    """The best rate of each, after one round that warms up."""
    rates: dict[str, list[float]] = {title: [] for title in players}
    for _ in range(ROUNDS + 1):
        for title, agent in players.items():
            rates[title].append(bench.rate(agent))
    return {title: max(measured[1:]) for title, measured in rates.items()}


def rows(name: str, rates: dict[str, float]) -> Iterator[str]:
    """The table's rows."""
    alone = rates["in process"]
    for title, rate in rates.items():
        yield f"| {name} | {title} | {rate:.1f} | {rate / alone:.2f} |"


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    described = describe_machine(options.threads)
    lines = ["| policy | where | steps/s | of in process |", "| --- | --- | ---: | ---: |"]
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        writers: dict[str, Callable[[], str]] = {
            "demo": partial(write_demo, folder / "demo" / "demo", options.policies / "reacher2d"),
            "gpt2-small": partial(write_random, folder / "gpt2-small" / "gpt2-small", GPT2_SMALL),
        }
        for name in options.only or STEPS:
            writers[name]()
            config = Policy.load(folder / name / name).config
            with agents(folder, name, options.threads) as players:
                lines += rows(name, measure(Bench(config, options.parallel, options.steps or STEPS[name]), players))
    facts = [f"- {name}: {value}" for name, value in described.items()]
    page = "\n".join([f"# Evaluation over HTTP, {options.parallel} environments", "", *facts, "", *lines, ""])
    sys.stdout.write(page)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page, encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--policies", type=Path, default=Path("demo/policies"), help="where make demo left its policy"
    )
    parser.add_argument("--only", nargs="+", choices=STEPS, help="policies to measure; both if not said")
    parser.add_argument("--parallel", type=int, default=64, help="environments side by side")
    parser.add_argument("--steps", type=int, help="of each episode, instead of the policy's own number")
    parser.add_argument("--threads", type=int, help="CPU threads of a forward pass, in process too")
    parser.add_argument("--out", type=Path, help="also write the page here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
