"""Restart: how long a client waits for its action when the engine dies under it, with a standby and without.

    python benchmarks/restart.py [--kills 5] [--out F]

One service with an HTTP worker before an engine; its engine is killed again and again, each time when nothing loads
any more. The wait is that of one `act` of the Python client, its tries and pauses included, and the pause of the
supervisor, which doubles from 0.1 s for an engine that died before it was 30 s old. Memory is what all
processes of the service hold together, pages they share counted once (PSS), without its Redis.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmark_policies import DEMO, write_random
from load.closed_loop import draw_observations
from load.service_process import ServiceProcess, cpu_seconds_of, serving
from pages.page import describe_machine, markdown_table

from clients.policy_client import PolicyClient

QUIET_SECONDS = 1.0
"""A process that used no more than a tenth of this in this time has loaded what it loads."""

HEAD = "standby|kills|wait p50 s|longest s|memory MB"


@dataclass(frozen=True)
class Outcome:
    """What one way came to."""

    standby: bool
    waits: tuple[float, ...]
    memory_mb: float

    def row(self) -> list[str]:
        """The table's."""
        waits = (np.median(self.waits), max(self.waits))
        named = "kept" if self.standby else "none"
        return [named, str(len(self.waits)), *(f"{wait:.2f}" for wait in waits), f"{self.memory_mb:.0f}"]


def measure(standby: bool, kills: int) -> Outcome:
    """Start a service, kill, count."""
    words = ("--device", "cpu", "--threads", "1", "--workers", "1", "--standby" if standby else "--no-standby")
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        write_random(folder / "policies" / "demo", DEMO)
        with serving(folder / "policies", folder / "data", *words) as service:
            waits = tuple(wait_of_one_death(service, standby) for _ in range(kills))
            settle(service, standby)
            return Outcome(standby, waits, memory_mb(service))


def wait_of_one_death(service: ServiceProcess, standby: bool) -> float:
    """Seconds from the engine's death until the next action."""
    observations = draw_observations(DEMO, seed=0)
    with PolicyClient(service.url, deadline_seconds=60.0) as client:
        episode = client.start("demo")
        episode.act(observations[0])
        settle(service, standby)
        os.kill(with_torch(service)[0], signal.SIGKILL)
        began = time.perf_counter()
        episode.act(observations[1], 0.0)
        return time.perf_counter() - began


def settle(service: ServiceProcess, standby: bool) -> None:
    """Wait until all processes that there are to be have loaded."""
    while len(with_torch(service)) < 1 + standby:
        time.sleep(QUIET_SECONDS / 10)
    used = float("-inf")
    while (now := sum(map(cpu_seconds_of, service.processes()))) > used + QUIET_SECONDS / 10:
        used = now
        time.sleep(QUIET_SECONDS)


def with_torch(service: ServiceProcess) -> list[int]:
    """The engine, then the standby: the processes that have torch, in the order of their start."""
    loaded = [pid for pid in service.processes() if "libtorch" in Path(f"/proc/{pid}/maps").read_text()]
    return sorted(loaded, key=lambda pid: int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]))


def memory_mb(service: ServiceProcess) -> float:
    """Of all processes of the service together."""
    summaries = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in service.processes())
    return sum(int(text.partition("\nPss:")[2].split()[0]) for text in summaries) / 1000


def page(outcomes: list[Outcome]) -> str:
    """Machine and table."""
    facts = "\n".join(f"- {name}: {value}" for name, value in describe_machine(1).items())
    table = markdown_table(HEAD, [outcome.row() for outcome in outcomes])
    return f"# benchmarks/restart.py\n\n{facts}\n\n{table}\n"


def main() -> None:
    """Measure both ways and print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the page here")
    options = parser.parse_args()
    written = page([measure(standby, options.kills) for standby in (True, False)])
    print(written, end="")
    if options.out is not None:
        options.out.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
