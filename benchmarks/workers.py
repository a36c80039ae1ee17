"""What several processes bring: one to some HTTP workers before one engine, beside one process that does both.

The policy is small, so that the way to it is what is measured. CPU per answer, by process, says where a host with
more cores would go; steps per second are those of this machine, whose cores the callers share.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_policies import DEMO, write_random
from load.closed_loop import Exchange, Robot, Sample, check_health, closed_loop, fill_windows
from load.service_process import ServiceProcess, cpu_seconds_of, serving
from numpy.typing import NDArray
from pages.page import describe_machine, markdown_table

from clients.policy_client import AsyncPolicyClient

DEADLINE_SECONDS = 300.0
"""No request is given up."""

HEAD = (
    "processes|route|answers/s|p50 ms|p99|mean batch|CPU HTTP ms|CPU engine|of it event loop|CPU Redis|CPU callers"
)


@dataclass(frozen=True)
class Load:
    """What is asked of each service, and for how long."""

    callers: int
    seconds: float
    threads: int

    def rows(self, folder: Path, workers: int) -> list[list[str]]:
        """The table's rows for one number of workers."""
        title = f"{workers} HTTP workers, 1 engine" if workers else "1 for both"
        options = ("--device", "cpu", "--threads", str(self.threads), "--workers", str(workers))
        data = Path(tempfile.mkdtemp(prefix="redis-", dir=folder))
        print(title, file=sys.stderr, flush=True)
        with serving(folder / "policies", data, *options) as service:
            return [
                [title, "GET /healthz", *asyncio.run(self._no_ops(service))],
                [title, "act", *asyncio.run(self._acts(service))],
            ]

    async def _no_ops(self, service: ServiceProcess) -> list[str]:
        async with AsyncPolicyClient(service.url, deadline_seconds=DEADLINE_SECONDS) as client:
            calls = [partial(check_health, client)] * self.callers
            await closed_loop(service, calls, 0.5)  # warm-up
            return await self._measured(service, calls)

    async def _acts(self, service: ServiceProcess) -> list[str]:
        async with AsyncPolicyClient(service.url, deadline_seconds=DEADLINE_SECONDS) as client:
            robots = [Robot(client, "demo", DEMO, seed) for seed in range(self.callers)]
            await fill_windows(robots, DEMO)
            return await self._measured(service, [robot.act for robot in robots])

    async def _measured(
        self, service: ServiceProcess, calls: Sequence[Callable[[], Awaitable[Exchange]]]
    ) -> list[str]:
        engines = [pid for pid in service.processes() if _runs_policies(pid)]
        before = _engine_seconds(engines)
        sample = await closed_loop(service, calls, self.seconds)
        return _figures(sample, _engine_seconds(engines) - before)


def _engine_seconds(pids: Sequence[int]) -> NDArray[np.float64]:  # [2]
    """CPU time of the processes that run policies, and of their event loops alone."""
    return np.array(
        [sum(cpu_seconds_of(pid, first_thread=first_thread) for pid in pids) for first_thread in (False, True)]
    )


def _figures(
    sample: Sample,
    engine_seconds: NDArray[np.float64],  # [2]
) -> list[str]:
    latencies = [exchange.latency_ms for exchange in sample.exchanges]
    batches = [exchange.timing.batch_size for exchange in sample.exchanges if exchange.timing is not None]
    service, redis, callers = (1000 * sample.cpu_seconds / len(latencies)).tolist()
    engine, event_loop = (1000 * engine_seconds / len(latencies)).tolist()
    p50, p99 = np.percentile(latencies, (50, 99))
    return [
        f"{sample.rate:.0f}",
        f"{p50:.1f}",
        f"{p99:.1f}",
        f"{np.mean(batches):.1f}" if batches else "",
        *(f"{cpu:.3f}" for cpu in (service - engine, engine, event_loop, redis, callers)),
    ]


def _runs_policies(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def main() -> None:
    """Measure and print the page."""
    options = _parse_options()
    load = Load(options.callers, options.seconds, options.threads)
    facts = [f"- {name}: {value}" for name, value in describe_machine(options.threads).items()]
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        write_random(folder / "policies" / "demo", DEMO)
        rows = [row for workers in options.workers for row in load.rows(folder, workers)]
    page = "\n\n".join(["# benchmarks/workers.py", "\n".join(facts), markdown_table(HEAD, rows)]) + "\n"
    print(page, end="")
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[0, 1, 2], help="numbers of HTTP workers; 0 is one process"
    )
    parser.add_argument("--callers", type=int, default=64, help="concurrent episodes")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement, after warm-up")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a forward pass")
    parser.add_argument("--out", type=Path, help="also write the page here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
