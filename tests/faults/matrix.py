"""The fault matrix: every fault once on one site, and the table of what became of the steps.

python -m tests.faults.matrix [--episodes N --steps N] [--redis-server PROGRAM] [--only WORD ...]
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

from tests.faults import network_faults, process_faults, realtime, replica_faults
from tests.faults.columns import columns
from tests.faults.site import Fault, opened
from tests.faults.verdict import Verdict
from tests.faults.workload import Size

FAULTS: list[Fault] = [*process_faults.FAULTS, *network_faults.FAULTS, *replica_faults.FAULTS]

REALTIME_STEPS = 1500

TITLES = ("fault", "hits", "steps played", "lost", "doubled", "trace equal", "errors 500", "longest gap ms")


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as aligned columns."""
    return columns([TITLES, *map(_row, verdicts)])


def _row(verdict: Verdict) -> tuple[str, ...]:
    numbers = (verdict.hits, verdict.steps, verdict.lost, verdict.doubled)
    equal = "yes" if verdict.equal else "NO"
    return verdict.fault, *map(str, numbers), equal, str(verdict.errors), f"{verdict.longest_gap_ms:.0f}"


def main() -> int:
    """Suffer every fault and print the table; 1 if any step was lost or doubled, or any trace is another."""
    options = _parse_options()
    logging.getLogger("clients").setLevel(logging.ERROR)  # that they restore episodes is not news here
    chosen = [fault for fault in FAULTS if not options.only or any(word in fault.name for word in options.only)]
    if not replica_faults.has_history():
        print("this checkout does not hold the version before: no rolling upgrade is played", file=sys.stderr)
        chosen = [fault for fault in chosen if fault.happen is not replica_faults.upgrade_rolling]
    verdicts = []
    with opened(Size(options.episodes, options.steps), options.redis_server) as site:
        for fault in chosen:
            began = time.monotonic()
            verdicts.append(site.suffer(fault))
            print(f"{time.monotonic() - began:5.1f} s  {fault.name}", file=sys.stderr, flush=True)
        if not options.only or any(word in "realtime" for word in options.only):
            verdicts.append(realtime.drive(site, REALTIME_STEPS))
    print(table(verdicts))
    for verdict in verdicts:
        if verdict.failure:
            print(f"{verdict.fault}: {verdict.failure}")
    return int(not all(verdict.faultless for verdict in verdicts))


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=8, help="of each of two target returns")
    parser.add_argument("--steps", type=int, default=100, help="of each episode")
    parser.add_argument("--redis-server", metavar="PROGRAM", help="instead of the one the service would start")
    parser.add_argument("--only", nargs="+", default=(), help="faults whose name has one of these words")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
