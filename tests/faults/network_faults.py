"""Network faults: slow and cut connections, lost answers, requests that come twice or in another order."""

from __future__ import annotations

import time

from tests.faults.link import Link
from tests.faults.relay import Chances
from tests.faults.site import Fault, Site
from tests.faults.workload import Workload

LATENCY_SECONDS = 0.01
CUTS = 6
CUT_EVERY_SECONDS = 0.3

LOST_SHARE = 0.2


def worry_redis_link(site: Site, workload: Workload) -> int:
    return worry(site.redis_link, workload)


def worry_client_link(site: Site, workload: Workload) -> int:
    return worry(site.link, workload)


def worry(link: Link, workload: Workload) -> int:
    """Latency throughout, cuts again and again, and once connections that only seem alive."""
    cuts = link.cuts
    workload.wait_for_middle()
    link.latency_seconds = LATENCY_SECONDS
    for _ in range(CUTS):
        link.cut()
        time.sleep(CUT_EVERY_SECONDS)
    link.silence()
    workload.wait_for_steps(len(workload.size.plans))
    link.latency_seconds = 0.0
    return link.cuts - cuts


def lose_answers(site: Site, workload: Workload) -> int:
    return mishaps(site, workload, Chances(lost=LOST_SHARE))


def copy_and_reorder(site: Site, workload: Workload) -> int:
    return mishaps(site, workload, Chances(copied=0.2, late=0.2))


def mishaps(site: Site, workload: Workload, chances: Chances) -> int:
    """For a whole evaluation."""
    relay = site.relay
    before = sum(relay.happened[name] for name in ("lost", "copied", "late"))
    relay.chances = chances
    workload.wait_for_steps(workload.steps_per_round)
    relay.chances = Chances()
    return sum(relay.happened[name] for name in ("lost", "copied", "late")) - before


FAULTS = [
    Fault("latency and cuts between service and Redis", worry_redis_link),
    Fault("latency and cuts between client and service", worry_client_link, way="link", deadline_seconds=6.0),
    Fault("every answer lost with probability 0.2", lose_answers, way="relay"),
    Fault("requests repeated and reordered", copy_and_reorder, way="relay"),
]
