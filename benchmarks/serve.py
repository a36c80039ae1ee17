"""Steps per second and latency of the service, beside the same policy in process and a no-op route, in one run.

    python benchmarks/serve.py [--reproducible] [--seconds 10] [--out FILE]

It serves two policies, the demo's and GPT-2 small's shape, each with a real `lamo-serve` and its private Redis in
a temporary folder. The callers are this project's own asynchronous client, in this process, on the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from benchmark_policies import GPT2_SMALL, write_demo, write_random
from closed_loop import Robot, Sample, check_health, closed_loop, fill_windows, steps_in_process
from results import Cell, EpisodeMemory, Results, describe_machine
from service_process import ServiceProcess, serving

from clients.policy_client import AsyncPolicyClient
from lamo.config import PolicyConfig
from lamo.policy import Policy

POLICIES = ("demo", "gpt2-small")

DEADLINE_SECONDS = 300.0
"""No request is given up: a batch of 64 through GPT-2 small takes seconds on a CPU."""

NO_OP_SHARE = 0.3
"""Of a cell's seconds; a route that does nothing is measured well in less."""


@dataclass(frozen=True)
class Bench:
    """One run's settings and results."""

    folder: Path
    episodes: list[int]
    seconds: float
    threads: int | None
    results: Results

    def serve(self, name: str, reproducible: bool = False) -> None:
        """Measure a policy behind a service of its own, at every number of episodes."""
        title = f"{name}, reproducible" if reproducible else name
        options = ["--reproducible"] if reproducible else []
        if self.threads is not None:
            options += ["--threads", str(self.threads)]
        say(f"starting the service: {title}")
        data = Path(tempfile.mkdtemp(prefix="redis-", dir=self.folder))
        with serving(self.folder / name, data, *options) as service:
            if not self.results.no_ops:
                asyncio.run(self._no_ops(service))
            self._policy(service, name, title, reproducible)

    def _policy(self, service: ServiceProcess, name: str, title: str, reproducible: bool) -> None:
        policy = Policy.load(self.folder / name / name, reproducible=reproducible)
        for episodes in self.episodes:
            say(f"{title}, {episodes} episodes")
            alone = steps_in_process(policy, episodes, self.seconds / 2)
            sample = asyncio.run(self._acts(service, name, title, policy.config, episodes=episodes))
            self.results.acts.append(Cell.of(title, episodes, sample, alone))
            say(f"  {sample.rate:.1f} steps/s, in process {alone:.1f}")

    async def _acts(
        self, service: ServiceProcess, name: str, title: str, config: PolicyConfig, *, episodes: int
    ) -> Sample:
        async with AsyncPolicyClient(service.url, deadline_seconds=DEADLINE_SECONDS) as client:
            robots = [Robot(client, name, config, seed) for seed in range(episodes)]
            await fill_windows(robots, config.context_length)
            self._weigh(service, robots[0], title)
            sample = await closed_loop(service, [robot.act for robot in robots], self.seconds)
            await asyncio.gather(*(robot.leave() for robot in robots))
        return sample

    def _weigh(self, service: ServiceProcess, robot: Robot, title: str) -> None:
        if robot.episode is not None and title not in [item.policy for item in self.results.memory]:
            self.results.memory.append(EpisodeMemory(title, *service.memory_bytes(robot.episode.episode_id)))

    async def _no_ops(self, service: ServiceProcess) -> None:
        for callers in self.episodes:
            async with AsyncPolicyClient(service.url, deadline_seconds=DEADLINE_SECONDS) as client:
                check = partial(check_health, client)
                await closed_loop(service, [check] * callers, 0.5)  # warm-up
                sample = await closed_loop(service, [check] * callers, NO_OP_SHARE * self.seconds)
            self.results.no_ops.append(Cell.of("GET /healthz", callers, sample))


def say(text: str) -> None:
    """Progress; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        say("writing the policies")
        writers = {
            "demo": partial(write_demo, folder / "demo" / "demo", options.policies / "reacher2d"),
            "gpt2-small": partial(write_random, folder / "gpt2-small" / "gpt2-small", GPT2_SMALL),
        }
        made = {name: writers[name]() for name in options.only or POLICIES}
        results = Results(made, options.seconds, describe_machine(options.threads))
        bench = Bench(folder, options.episodes, options.seconds, options.threads, results)
        for name in made:
            bench.serve(name)
        if options.reproducible and "demo" in made:
            bench.serve("demo", reproducible=True)
    print(results.markdown(), end="")
    if options.out is not None:
        results.write(options.out)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--policies", type=Path, default=Path("demo/policies"), help="where make demo left its policy"
    )
    parser.add_argument("--only", nargs="+", choices=POLICIES, help="policies to measure; both if not said")
    parser.add_argument("--episodes", type=int, nargs="+", default=[1, 8, 64], help="concurrent episodes")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each cell, after warm-up")
    parser.add_argument("--threads", type=int, help="CPU threads of a forward pass, in process too")
    parser.add_argument(
        "--reproducible", action="store_true", help="measure the demo policy in reproducible mode too"
    )
    parser.add_argument("--out", type=Path, help="also write the page here; as JSON if the file is called so")
    return parser.parse_args()


if __name__ == "__main__":
    main()
