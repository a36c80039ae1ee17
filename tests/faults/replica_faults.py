"""Replica faults: several replicas on one Redis, asked in turn, restarted under load, and of two versions."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from tests.faults.processes import ROOT, Replica
from tests.faults.site import Fault, Site
from tests.faults.workload import Workload

VERSION_BEFORE = "d484355"
"""The last commit that knew no missed steps and no restored windows."""


def hop(site: Site, workload: Workload) -> int:
    """Every request goes to either of two replicas."""
    with balanced(site, site.first, site.second) as visits:
        workload.wait_for_steps(workload.steps_per_round)
    return min(visits())


def restart_rolling(site: Site, workload: Workload) -> int:
    """One replica drains, ends and comes back while the other serves, then the other does.

    Both are asked until one has left; from then on the balancer asks the ready one, as a probe would tell it.
    """
    replicas = site.first, site.second
    for leaving, staying in (replicas, replicas[::-1]):
        with balanced(site, *replicas):
            workload.wait_for_middle()
            leaving.leave()
        with balanced(site, staying):
            leaving.start()
            leaving.wait_until_ready()
    with balanced(site, *replicas) as visits:
        workload.wait_for_steps(workload.steps_per_round // 2)
        assert min(visits()) > 0
    return len(replicas)


def upgrade_rolling(site: Site, workload: Workload) -> int:
    """The version before and this one on the same episodes; then the old one is replaced."""
    redis = f"redis://127.0.0.1:{site.redis.port}/0"
    code = checked_out(VERSION_BEFORE, site.folder / "version-before")
    old = Replica(site.policies, site.folder / "old.log", "--redis-url", redis, code=code)
    old.start()
    try:
        old.wait_until_ready()
        with balanced(site, old, site.first) as visits:
            workload.wait_for_steps(workload.steps_per_round)
            workload.wait_for_middle()
            old.leave()
            workload.wait_for_steps(len(workload.size.plans))
            return min(visits())
    finally:
        old.stop()


@contextmanager
def balanced(site: Site, *replicas: Replica) -> Iterator[Callable[[], list[int]]]:
    """The relay goes to these; what is given tells how often it went to each."""
    relay = site.relay
    before = dict(relay.happened)
    names = [f"to port {replica.port}" for replica in replicas]
    relay.targets = tuple(replica.port for replica in replicas)
    try:
        yield lambda: [relay.happened[name] - before.get(name, 0) for name in names]
    finally:
        relay.targets = (site.first.port,)


def has_history() -> bool:
    """Whether the version before can be checked out here."""
    words = ["git", "-C", str(ROOT), "cat-file", "-e", f"{VERSION_BEFORE}^{{commit}}"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def checked_out(commit: str, folder: Path) -> Path:
    """An earlier version of the service's code, as files."""
    words = ["git", "-C", str(ROOT), "archive", "--format=tar", commit, "lamo", "service"]
    packed = subprocess.run(words, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


FAULTS = [
    Fault("the client hops between two replicas", hop, way="relay"),
    Fault("rolling restart of two replicas", restart_rolling, way="relay"),
    Fault("rolling upgrade from the version before", upgrade_rolling, way="relay"),
]
