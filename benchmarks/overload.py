"""Overload: what a service does with five times what it can answer: who is refused, how fast, who waits how long.

    python benchmarks/overload.py [--times 5] [--seconds 20] [--queue-seconds S] [--threads N] [--out F] [--json F]

One service, asked by robots who never ask again when they are refused: first at its capacity, which a closed loop
finds in the same run, then at so many times that, then at half of it. Requests come as a Poisson process; a latency
counts from when a request was due. Recovery is how long after the overload the last request was refused, or waited
longer than the p99 at capacity.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmark_policies import DEMO, write_random
from load.closed_loop import draw_observations
from load.open_loop import arrivals, freeze_heap
from load.peer_wire import LAMO_WIRE, Connection, Step
from load.service_process import serving
from pages.page import describe_machine, markdown_table

from clients.policy_client import AsyncPolicyClient
from lamo.config import TrunkConfig

SLOW = dataclasses.replace(
    DEMO, trunk=TrunkConfig(n_layer=8, n_head=12, n_embd=768, n_inner=3072),
    context_length=2, max_timesteps=4096, timestep_table_size=4096,
)  # fmt: skip
"""A policy that costs more than the way to it, as most do that are worth serving; its windows are soon full."""

BATCH_LIMIT = 16
"""A pass is then a fraction of what the queue may take; a processor gains nothing from larger ones."""

EPISODES = 128
"""More than can be under way at once, so that the load does not depend on the answers."""

CLOSED_LOOP_CALLERS = 32

REFUSED_SECONDS = 0.05
"""Pause of a caller of the closed loop who was refused; those of the open loop do not insist."""

HEAD = "load|asked/s|sent late p99 ms|answered/s|p50 ms|p99|refused/s|p50 ms|p99|other errors"


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        due: when it was to be sent, on the performance counter.
        late_ms: until it was sent: whoever asks shares the cores with whoever answers.
        latency_ms: from when it was due until its answer.
    """

    due: float
    late_ms: float
    latency_ms: float
    refused: bool


@dataclass
class Robot:
    """One episode, over a connection of its own."""

    episode_id: str
    connection: Connection
    step: int = 0

    async def ask(self, observation: str) -> int:
        """The status of the answer; a step that got none is asked for again next time."""
        path, body = LAMO_WIRE.act(Step(self.episode_id, self.step, observation, reward=0.0))
        status, _ = await self.connection.ask("POST", path, body)
        self.step += status == 200
        return status


class Robots:
    """Episodes that take turns; each sends its next step when it is asked to, and does not insist.

    Attributes:
        failed: answers that were neither an action nor 429.
    """

    def __init__(self, url: str) -> None:
        self.failed = 0
        self._url = url
        self._observations = [json.dumps(row.tolist()) for row in draw_observations(SLOW, seed=0)]
        self._free: asyncio.Queue[Robot] = asyncio.Queue()

    async def open(self) -> None:
        """Start every episode."""
        port = int(self._url.rpartition(":")[2])
        async with AsyncPolicyClient(self._url, deadline_seconds=60.0) as client:
            for _ in range(EPISODES):
                self._free.put_nowait(Robot((await client.start("slow")).episode_id, Connection(port)))

    def close(self) -> None:
        """Hang up."""
        while not self._free.empty():
            self._free.get_nowait().connection.close()

    async def ask(self, due: float) -> Asked:
        """One step of whichever episode has waited longest."""
        robot = await self._free.get()
        late_ms = 1000 * (time.perf_counter() - due)
        status = await robot.ask(self._observations[robot.step % len(self._observations)])
        self._free.put_nowait(robot)
        self.failed += status not in (200, 429)
        return Asked(due, late_ms, 1000 * (time.perf_counter() - due), refused=status == 429)


@dataclass(frozen=True)
class Load:
    """What became of one load."""

    name: str
    seconds: float
    requests: Sequence[Asked]
    failed: int

    def rate(self, *, refused: bool) -> float:
        """Answers per second, actions or refusals."""
        return sum(asked.refused == refused for asked in self.requests) / self.seconds

    def percentile(self, share: float, *, refused: bool) -> float:
        """Of the latencies of actions or of refusals, in ms; not a number where there are none."""
        latencies = [asked.latency_ms for asked in self.requests if asked.refused == refused]
        return float(np.percentile(latencies, share)) if latencies else float("nan")

    def late_ms(self, share: float) -> float:
        """A percentile of how late requests were sent."""
        return float(np.percentile([asked.late_ms for asked in self.requests], share))

    def row(self) -> list[str]:
        """The table's."""
        answered, refused = (
            [self.rate(refused=kind), *(self.percentile(share, refused=kind) for share in (50, 99))]
            for kind in (False, True)
        )
        asked = len(self.requests) / self.seconds
        numbers = (asked, self.late_ms(99), *answered, *refused)
        return [self.name, *(f"{number:.0f}" for number in numbers), str(self.failed)]


async def fill_windows(robots: Robots) -> None:
    """Warm-up: every episode's window is as long as it gets, so all steps cost the same from now on."""
    for _ in range(SLOW.context_length * EPISODES // CLOSED_LOOP_CALLERS):
        await asyncio.gather(*(robots.ask(time.perf_counter()) for _ in range(CLOSED_LOOP_CALLERS)))


async def capacity(robots: Robots, seconds: float) -> float:
    """Answers per second where so many callers ask again as soon as they are answered."""
    until, answered = time.perf_counter() + seconds, 0

    async def caller() -> None:
        nonlocal answered
        while (now := time.perf_counter()) < until:
            asked = await robots.ask(now)
            answered += not asked.refused
            await asyncio.sleep(REFUSED_SECONDS * asked.refused)

    await asyncio.gather(*(caller() for _ in range(CLOSED_LOOP_CALLERS)))
    return answered / seconds


async def open_loop(robots: Robots, name: str, rate: float, seconds: float) -> Load:
    """So many requests per second, whether or not earlier ones are answered."""
    freeze_heap()
    failed, began = robots.failed, time.perf_counter()
    async with asyncio.TaskGroup() as asking:
        tasks = []
        for due in (began + arrivals(rate, seconds)).tolist():
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asking.create_task(robots.ask(due)))
    return Load(name, seconds, [task.result() for task in tasks], robots.failed - failed)


def recovery_seconds(after: Load, usual_ms: float) -> float:
    """Until the last request that was refused, or waited longer than usual, after an overload was over."""
    began = after.requests[0].due
    late = [asked.due - began for asked in after.requests if asked.refused or asked.latency_ms > usual_ms]
    return max(late, default=0.0)


@dataclass(frozen=True)
class Outcome:
    """The three loads, and how long the service took to recover from the middle one."""

    loads: tuple[Load, Load, Load]

    @property
    def figures(self) -> dict[str, float]:
        """What is promised, and whether whoever asked was in time."""
        usual, crowded, after = self.loads
        return {
            "sent_late_p99_ms": crowded.late_ms(99),
            "refused_p50_ms": crowded.percentile(50, refused=True),
            "refused_p99_ms": crowded.percentile(99, refused=True),
            "admitted_p99_ms": crowded.percentile(99, refused=False),
            "capacity_p99_ms": usual.percentile(99, refused=False),
            "recovery_seconds": recovery_seconds(after, usual.percentile(99, refused=False)),
            "answered_share": crowded.rate(refused=False) / usual.rate(refused=False),
            "refused": crowded.rate(refused=True) * crowded.seconds,
            "failed": sum(load.failed for load in self.loads),
        }


async def measure(url: str, times: float, seconds: float) -> Outcome:
    """Ask a service that is ready."""
    robots = Robots(url)
    await robots.open()
    await fill_windows(robots)
    rate = await capacity(robots, seconds)
    loads = []
    for name, share in (("at capacity", 1.0), (f"{times:g} times that", times), ("half of it, after", 0.5)):
        print(f"{name}: {share * rate:.0f}/s", file=sys.stderr, flush=True)
        loads.append(await open_loop(robots, name, share * rate, seconds))
    robots.close()
    return Outcome((loads[0], loads[1], loads[2]))


def page(outcome: Outcome, threads: int) -> str:
    """The table and the promises."""
    figures = outcome.figures
    facts = [f"- {name}: {value}" for name, value in describe_machine(threads).items()]
    promises = [
        f"- refusals at overload: p99 {figures['refused_p99_ms']:.0f} ms",
        f"- admitted at overload: p99 {figures['admitted_p99_ms']:.0f} ms; "
        f"at capacity {figures['capacity_p99_ms']:.0f} ms",
        f"- recovery: {1000 * figures['recovery_seconds']:.0f} ms",
    ]
    table = markdown_table(HEAD, [load.row() for load in outcome.loads])
    return "\n\n".join(["# benchmarks/overload.py", "\n".join(facts), table, "\n".join(promises)]) + "\n"


def main() -> None:
    """Measure and print the page."""
    options = _parse_options()
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        write_random(folder / "policies" / "slow", SLOW)
        words = ("--device", "cpu", "--threads", str(options.threads), "--batch-limit", str(BATCH_LIMIT))
        words += ("--queue-seconds", str(options.queue_seconds))
        with serving(folder / "policies", folder / "data", *words) as service:
            outcome = asyncio.run(measure(service.url, options.times, options.seconds))
    print(page(outcome, options.threads), end="")
    if options.out is not None:
        options.out.write_text(page(outcome, options.threads), encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps(outcome.figures, indent=2) + "\n", encoding="utf-8")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--times", type=float, default=5.0, help="the overload, in capacities")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load, after warm-up")
    parser.add_argument("--queue-seconds", type=float, default=0.1, help="the service's option")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a forward pass")
    parser.add_argument("--out", type=Path, help="also write the page here")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
