"""The service under load: steps per second and latency, beside the policy in process and a no-op route, in one run.

    python benchmarks/serve.py [--quick] [--only SECTION ...] [--out FILE]

Each section answers a question, with a real `lamo-serve` and its Redis in a temporary folder. The callers are this
project's own asynchronous client, in this process, on the same cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark_policies import DEMO, GPT2_SMALL, MLP, write_demo, write_random
from load.measured_service import FLEET, MeasuredService, Way, say
from load.redis_process import redis_server
from load.service_process import serving
from pages.page import describe_machine
from pages.serve_results import ServeResults

DEMO_HOP, GPT2_HOP = 5, 10
"""A window may move by at most its length: 5 timesteps are the demo's."""

SMALL = {
    "demo": DEMO,
    f"demo-hop{DEMO_HOP}": dataclasses.replace(DEMO, hop=DEMO_HOP),
    "mlp": MLP,
}
LARGE = {
    "gpt2-small": GPT2_SMALL,
    f"gpt2-small-hop{GPT2_HOP}": dataclasses.replace(GPT2_SMALL, hop=GPT2_HOP),
}

WAYS = (Way(), Way("msgpack"), Way("json", FLEET), Way("msgpack", FLEET), Way("msgpack", FLEET // 4))

REDIS_WAYS = (Way(), Way("msgpack", FLEET))

QUICK_SECONDS = 1.0


@dataclass(frozen=True)
class Bench:
    """One run: what is measured how long, where its files lie, and what came of it."""

    folder: Path
    trained: Path
    episodes: list[int]
    rates: list[float]
    seconds: float
    threads: int | None
    options: tuple[str, ...]
    results: ServeResults

    def small(self) -> None:
        """Does the service keep up with a small policy?"""
        with self._service("small") as service:
            cells = self.results.throughput
            cells += [service.closed_beside("demo", episodes) for episodes in self.episodes]
            cells.append(service.closed_beside(f"demo-hop{DEMO_HOP}", FLEET))
            self.results.no_ops += [service.no_op(callers) for callers in self.episodes]
            self.results.memory.append(service.weigh("demo"))

    def large(self) -> None:
        """Does it with one that is nearly all of the work?"""
        with self._service("large") as service:
            for name in LARGE:
                self.results.throughput += [
                    service.closed_beside(name, episodes) for episodes in self.episodes if episodes <= FLEET
                ]
            self.results.memory.append(service.weigh("gpt2-small"))

    def reproducible(self) -> None:
        """What do equal bits cost?"""
        with self._service("small", "--reproducible") as service:
            self.results.throughput.append(service.closed_beside("demo", FLEET))

    def ways(self) -> None:
        """What do msgpack, requests for many episodes, and a Redis of its own bring?"""
        with self._service("small") as service:
            self.results.ways += [service.closed("demo", FLEET, way) for way in WAYS]
        with self._service("small", redis=True) as service:
            self.results.ways += [service.closed("demo", FLEET, way) for way in REDIS_WAYS]

    def rates_asked(self) -> None:
        """How long does a step take at a rate?"""
        with self._service("small", redis=True) as service:
            for rate in self.rates:
                self.results.no_op_rates.append(service.no_op(FLEET, rate))
                self.results.rates += [service.at_rate(name, rate) for name in ("mlp", "demo")]

    @contextmanager
    def _service(self, policies: str, *options: str, redis: bool = False) -> Iterator[MeasuredService]:
        self._write(policies)
        with ExitStack() as stack:
            data = Path(tempfile.mkdtemp(prefix="redis-", dir=self.folder))
            server = stack.enter_context(redis_server(data)) if redis else None
            say(f"starting the service: {policies} {' '.join(options)}".rstrip())
            folder = self.folder / policies
            service = stack.enter_context(serving(folder, data, *self.options, *options, redis=server))
            yield MeasuredService(
                service=service,
                policies=folder,
                seconds=self.seconds,
                redis="over TCP" if redis else "embedded",
                reproducible="--reproducible" in options,
                threads=self.threads,
            )

    def _write(self, policies: str) -> None:
        """Write the policies of a folder, once."""
        if (self.folder / policies).exists():
            return
        for name, config in {"small": SMALL, "large": LARGE}[policies].items():
            directory = self.folder / policies / name
            if name == "demo":
                self.results.policies[name] = write_demo(directory, self.trained)
            else:
                self.results.policies[name] = write_random(directory, config)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "small": Bench.small,
    "large": Bench.large,
    "reproducible": Bench.reproducible,
    "ways": Bench.ways,
    "rates": Bench.rates_asked,
}


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    seconds = QUICK_SECONDS if options.quick else options.seconds
    results = ServeResults({}, describe_machine(options.threads) | {"seconds of each load": f"{seconds:g}"})
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        bench = Bench(
            folder=Path(temporary),
            trained=options.policies / "reacher2d",
            episodes=options.episodes,
            rates=options.rates,
            seconds=seconds,
            threads=options.threads,
            options=tuple(service_options(options)),
            results=results,
        )
        for name in options.only or SECTIONS:
            SECTIONS[name](bench)
    print(results.markdown(), end="")
    if options.out is not None:
        results.write(options.out)


def service_options(options: argparse.Namespace) -> Iterator[str]:
    """What is passed on to lamo-serve."""
    for name in ("threads", "workers"):
        if (value := getattr(options, name)) is not None:
            yield from (f"--{name}", str(value))


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--policies", type=Path, default=Path("demo/policies"), help="where make demo left its policy"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="sections to measure; all if not said")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS:g} s of each load, to see it work")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load, after warm-up")
    parser.add_argument(
        "--episodes", type=int, nargs="+", default=[1, 8, 64, 256], help="concurrent episodes, closed loop"
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[100, 250, 500, 1000], help="steps per second, open loop"
    )
    parser.add_argument("--threads", type=int, help="CPU threads of a forward pass, in process too")
    parser.add_argument("--workers", type=int, help="HTTP workers of the service")
    parser.add_argument("--out", type=Path, help="write the page here and its plots beside it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
