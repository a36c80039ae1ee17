"""lamo-serve beside general serving frameworks: one policy, the same history, the same client, in turns in one run.

    make bench-peers
    python benchmarks/peers.py [--ours "--workers 2"] [--only demo] [--seconds 5] [--rounds 2] [--out FILE]

The peers are a plain FastAPI loop, LitServe, Ray Serve and BentoML (`peers/`), each with the batching that its
documentation advises. They keep their episodes in memory and lose them when they end; lamo-serve has each step in
Redis before it answers. It needs the environment of `peers/constraints.txt`, which `make bench-peers` builds.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
import uvloop
from benchmark_policies import DEMO, GPT2_SMALL, write_random
from load.peer_load import Caller, check_actions, closed_loop, open_loop
from load.peer_process import PEERS, PeerProcess, Server, ours, running
from pages.page import describe_machine
from pages.peer_results import Load, PeerResults

from lamo.config import PolicyConfig
from lamo.policy import Policy
from service.policies.engine import default_threads

FRAMEWORKS = ("fastapi", "uvicorn", "litserve", "ray", "bentoml")

WARM_UP_SHARE = 0.2
"""Of a closed loop's seconds; BentoML's batching learns from the first requests."""

LEAST_STEPS = 2
"""Of each caller of an open loop; at low rates fewer callers share it."""


@dataclass(frozen=True)
class Shape:
    """A policy to serve, and the rates of its open loops on two CPU cores, in steps per second."""

    config: PolicyConfig
    rates: tuple[float, ...]


SHAPES = {"demo": Shape(DEMO, (50, 100, 200, 400)), "gpt2-small": Shape(GPT2_SMALL, (2, 5))}


@dataclass(frozen=True)
class Turn:
    """One server alive, under every load of one policy."""

    server: Server
    process: PeerProcess
    name: str
    policy: Policy
    options: argparse.Namespace
    results: PeerResults

    async def measure(self) -> None:
        """Check what it answers, fill the windows, then all closed and all open loops."""
        callers = [
            Caller(self.server.wire, self.process.port, self.name, self.policy.config, seed)
            for seed in range(max(self.options.episodes))
        ]
        await check_actions(self.policy, callers, self.server.title)
        await asyncio.gather(*(caller.open(self.policy.config.context_length) for caller in callers))
        for episodes in self.options.episodes:
            await self._closed(callers[:episodes])
        for rate in self.options.rates or SHAPES[self.name].rates:
            await self._open(callers, rate)
        memory = self.results.memory_mb.setdefault((self.name, self.server.title), [])
        memory.append(self.process.memory_mb())
        await asyncio.gather(*(caller.close() for caller in callers))

    async def _closed(self, callers: Sequence[Caller]) -> None:
        await closed_loop(self.process, callers, WARM_UP_SHARE * self.options.seconds)
        sample = await closed_loop(self.process, callers, self.options.seconds)
        figures = self.results.add(Load(self.name, len(callers)), self.server.title, sample)
        say(f"  {len(callers)} episodes: {figures.per_second:.1f} steps/s, p99 {figures.p99_ms:.1f} ms")

    async def _open(self, callers: Sequence[Caller], rate: float) -> None:
        callers = callers[: max(1, int(rate * self.options.seconds / LEAST_STEPS))]
        sample = await open_loop(self.process, callers, rate, self.options.seconds)
        figures = self.results.add(Load(self.name, len(callers), rate), self.server.title, sample)
        say(f"  {rate:g} steps/s: {100 * figures.answered:.0f} % answered, p99 {figures.p99_ms:.1f} ms")


def run(options: argparse.Namespace, folder: Path) -> PeerResults:
    """Every server in every round, one alive at a time."""
    servers = [*map(ours, options.ours or [""]), *(PEERS[name] for name in options.peers)]
    results = PeerResults(describe(options))
    for name in options.only:
        config = dataclasses.replace(SHAPES[name].config, hop=options.hop)
        write_random(folder / name / name, config)
        policy = Policy.load(folder / name / name)
        threads = options.threads or default_threads(policy.parameters, os.cpu_count() or 1)
        torch.set_num_threads(threads)
        results.facts[name] = (
            f"random weights, K {config.context_length}, hop {config.hop}, torch threads {threads}"
        )
        for turn in range(options.rounds):
            for server in servers:
                say(f"{name}, round {turn + 1}: {server.title}")
                with running(server, folder / name, name, threads) as process:
                    uvloop.run(Turn(server, process, name, policy, options, results).measure())
    return results


def describe(options: argparse.Namespace) -> dict[str, str]:
    """The machine, the versions and what a row is."""
    facts = describe_machine(options.threads)
    facts["torch"] = torch.__version__
    facts["versions"] = ", ".join(f"{name} {version(name)}" for name in FRAMEWORKS)
    facts["CPU ms, cores others used"] = "of all processes of the server per step; by other work on the machine"
    facts["rows"] = f"median of {options.rounds} turns of {options.seconds:g} s, one server alive at a time"
    facts["checked"] = "every server answered short episodes with the in-process policy's actions, to 1e-5"
    return facts


def say(text: str) -> None:
    """Progress; the page alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the server under way is ended too
    with tempfile.TemporaryDirectory(prefix="lamo-peers-") as folder:
        results = run(options, Path(folder))
    print(results.markdown(options.out.with_suffix(".png").name), end="")
    results.write(options.out)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--ours", action="append", help="options of lamo-serve; each time said, one more server")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="who is compared")
    parser.add_argument("--only", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="policies to serve")
    parser.add_argument("--hop", type=int, default=1, help="of the policies' windows, for every server")
    parser.add_argument("--episodes", type=int, nargs="+", default=[1, 8, 64], help="callers of the closed loops")
    parser.add_argument("--rates", type=float, nargs="+", help="steps per second of the open loops")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server")
    parser.add_argument("--threads", type=int, help="of torch in every server; as lamo-serve chooses if not said")
    parser.add_argument("--out", type=Path, default=Path("build/peers.md"), help="the page, the plot beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
