"""The soak: 200 episodes at a time, and a kill every 20 s; at the end nothing is lost and nothing has grown.

python -m tests.faults.soak [--minutes 30] [--episodes 200] [--kill-seconds 20] [--seed 0]
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from threading import Lock

from clients.policy_client import PolicyClient
from tests.faults.columns import columns
from tests.faults.journal import read_journal
from tests.faults.memory import GROWTH_MB_PER_MINUTE, JUDGED_SECONDS, WARM_UP_SECONDS, Memory
from tests.faults.policies import STANDING, TARGETS
from tests.faults.process_faults import kill_child
from tests.faults.site import Site, opened
from tests.faults.verdict import doubled_steps, lost_steps, recorded_of, same_bits
from tests.faults.workload import Played, Size, Workload

STEPS = 100

MARGIN_SECONDS = 20.0
"""That a process may need to be there, in the shortest soak whose memory can be judged."""

OPTIONS = ("--cached-episodes", "256")
"""Little more than play at a time: a cache that fills for half an hour would look like a leak."""

HEAD = ("process", "lives", "largest MB", "MB per minute", "in the second half")

ROLES = ("HTTP worker 0", "HTTP worker 1", "engine 0 on cpu")


class Soak:
    """Plays and kills by turns, and judges each evaluation when it is over.

    Two replicas are asked in turn. Processes of the first are killed; the second lives through all of it, so that
    its memory shows what a short life would not.

    Attributes:
        kills: of each role.
        lost, doubled, unequal: steps, steps, evaluations.
    """

    def __init__(self, site: Site, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self.lost = self.doubled = self.unequal = 0
        self._site = site
        self._random = random.Random(seed)
        self._quiet = Lock()
        self.workload = Workload(site.relay.url, site.size, on_round=self._judge)
        self.memory = Memory(self._processes)

    def run(self, seconds: float, kill_seconds: float) -> None:
        """Until the time is over and the evaluation under way is played, with a kill after each `kill_seconds`."""
        self._site.redis.begin_file_anew()
        self._site.relay.targets = (self._site.first.port, self._site.second.port)
        self.workload.begin()
        self.memory.begin()
        until = time.monotonic() + seconds
        try:
            while (left := until - time.monotonic()) > 0 and self.workload.failure is None:
                time.sleep(min(left, kill_seconds))
                if left > kill_seconds:
                    with self._quiet:
                        self._kill(self._random.choice(("redis", *ROLES)))
        finally:
            self.workload.finish()
            self.memory.finish()

    def _kill(self, role: str) -> None:
        self.kills[role] += 1
        print(
            f"{time.strftime('%H:%M:%S')} {self.workload.steps} steps, killing {role}", file=sys.stderr, flush=True
        )
        if role == "redis":
            self._site.redis.restart()
        else:
            kill_child(self._site, role)

    def _judge(self, played: Played) -> None:
        """Count, then forget: neither the service nor this process keeps what is over."""
        with self._quiet:
            self._site.first.wait_until_ready()
            journal = read_journal(self._site.redis.append_only_files(), STANDING)
            for episode_id, result in zip(played.episode_ids, played.results, strict=True):
                recorded = recorded_of(journal, episode_id)
                self.lost += lost_steps(recorded, result)
                self.doubled += doubled_steps(recorded, result)
            self.unequal += not same_bits(played, self._site.undisturbed)
            with PolicyClient(self._site.first.url, deadline_seconds=60) as client:
                for episode_id in played.episode_ids:
                    client.resume(episode_id).delete()
            self.workload.rounds[-1] = Played((), ())
            self._site.redis.begin_file_anew()

    def _processes(self) -> dict[str, int]:
        first = self._site.first
        return {
            "supervisor": first.pid,
            "second replica": self._site.second.pid,
            "redis": self._site.redis.pid,
            **{role: first.child(role) for role in ROLES},
        }


def report(soak: Soak, errors: int) -> str:
    """Two tables: what became of the steps, and of the memory."""
    work = soak.workload
    facts = [
        ("rounds", str(len(work.rounds))),
        ("steps played", str(work.steps)),
        ("kills", ", ".join(f"{role} {count}" for role, count in sorted(soak.kills.items()))),
        ("lost", str(soak.lost)),
        ("doubled", str(soak.doubled)),
        ("traces not equal", str(soak.unequal)),
        ("answers 500 and tracebacks", str(errors)),
        ("longest gap ms", f"{1000 * work.longest_wait:.0f}"),
    ]
    memory = [
        (role, str(lives), f"{largest:.0f}", f"{growth:+.2f}", f"{later:+.2f}")
        for role, lives, largest, growth, later in soak.memory.table()
    ]
    return "\n\n".join([columns(facts), columns([HEAD, *memory])])


def faultless(soak: Soak, errors: int) -> bool:
    """Whether nothing was lost, doubled, changed or leaked, and nothing failed."""
    growths = [growth for *_, growth, _ in soak.memory.table() if not math.isnan(growth)]
    steady = max(growths, default=math.inf) <= GROWTH_MB_PER_MINUTE
    return steady and not (soak.lost or soak.doubled or soak.unequal or errors or soak.workload.failure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Soak and print the tables; 1 if anything was lost, doubled, changed, answered 500, or grew."""
    options = _parse_options(arguments)
    size = Size(options.episodes // len(TARGETS), STEPS)
    with opened(size, options=OPTIONS) as site:
        before = site.tracebacks()
        soak = Soak(site, options.seed)
        site.undisturbed  # noqa: B018 - played now, while nothing happens
        soak.run(60 * options.minutes, options.kill_seconds)
        errors = site.tracebacks() - before + soak.workload.outcomes["500"]
        print(report(soak, errors))
        if soak.workload.failure is not None:
            print(f"the client gave up: {soak.workload.failure}")
        return int(not faultless(soak, errors))


def _parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--episodes", type=int, default=200, help="at a time")
    parser.add_argument("--kill-seconds", type=float, default=20.0, help="between two kills; inf: none")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    options = parser.parse_args(arguments)
    if 60 * options.minutes < WARM_UP_SECONDS + JUDGED_SECONDS + MARGIN_SECONDS:
        parser.error(f"--minutes is {options.minutes:g}: no memory can be judged in less than 3")
    return options


if __name__ == "__main__":
    sys.exit(main())
