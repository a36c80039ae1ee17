"""The fault matrix in short: whatever is killed, cut, paused or repeated, no step is lost, doubled or another."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.faults import realtime
from tests.faults.matrix import FAULTS
from tests.faults.replica_faults import has_history, upgrade_rolling
from tests.faults.site import Fault, Site, opened
from tests.faults.workload import Size

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits and pauses processes as Linux does"
)

SHORT = Size(episodes=4, steps=40)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with opened(SHORT) as site:
        yield site


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_step_is_lost_doubled_or_another_through(site: Site, fault: Fault) -> None:
    if fault.happen is upgrade_rolling and not has_history():
        pytest.skip("this checkout does not hold the version before")
    verdict = site.suffer(fault)
    assert verdict.faultless, verdict


def test_a_controller_that_never_waits_has_every_timestep_in_the_record(site: Site) -> None:
    verdict = realtime.drive(site, steps=300)
    assert verdict.faultless, verdict
    assert verdict.longest_gap_ms < 2000
