"""Replica faults: several replicas on one Redis, asked in turn, restarted under load, and of two versions."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
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
    """One replica drains, ends and comes back while the other serves, then the other does."""
    replicas = site.first, site.second
    with balanced(site, *replicas):
        for replica in replicas:
            workload.wait_for_middle()
            replica.leave()
            replica.start()
            replica.wait_until_ready()
        workload.wait_for_steps(len(workload.size.plans))
    return len(replicas)


def upgrade_rolling(site: Site, workload: Workload) -> int:
    """The version before and this one on the same episodes; then the old one is replaced."""
    old = site.replica("old", code=checked_out(VERSION_BEFORE, site.folder / "old"))
    with balanced(site, old, site.first) as visits:
        workload.wait_for_steps(workload.steps_per_round)
        old_visits = min(visits())
    with balanced(site, old, site.first, site.second):
        workload.wait_for_middle()
        old.leave()
        workload.wait_for_steps(len(workload.size.plans))
    return old_visits


@contextmanager
def balanced(site: Site, *replicas: Replica):
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
    found = subprocess.run(["git", "-C", ROOT, "cat-file", "-e", f"{VERSION_BEFORE}^{{commit}}"], capture_output=True)
    return found.returncode == 0


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
