"""The fault matrix in short: whatever is killed, cut, paused or repeated, no step is lost, doubled or another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from clients.policy_client import PolicyClient
from tests.faults import realtime
from tests.faults.matrix import FAULTS
from tests.faults.processes import Replica
from tests.faults.replica_faults import VERSION_BEFORE, balanced, checked_out, has_history, upgrade_rolling
from tests.faults.site import Fault, Site, opened
from tests.faults.workload import Size

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="limits and pauses processes as Linux does"
)

SHORT = Size(episodes=4, steps=40)

OBSERVATION = [0.1, 0.2, 0.99, 0.98, 0, 0, 0.6, 0.5, 0.3, 0.7, 0.3, -0.2]

TIMESTEP = {"step": 9, "observation": OBSERVATION, "reward": 1.0, "action": [0.0, 0.5], "return_to_go": 70.0}

SHORT_WINDOW = {"policy": "standing", "target_return": 76.0, "episode_return": 6.0, "timesteps": [TIMESTEP]}
"""One timestep where the ring should hold six: only the newer record schema can say so."""


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


@pytest.mark.skipif(not has_history(), reason="this checkout does not hold the version before")
def test_an_episode_in_the_newer_schema_goes_on_while_both_versions_serve(site: Site, tmp_path: Path) -> None:
    redis = f"redis://127.0.0.1:{site.redis.port}/0"
    code = checked_out(VERSION_BEFORE, tmp_path)
    old = Replica(site.policies, tmp_path / "old.log", "--redis-url", redis, code=code)
    old.start()
    try:
        old.wait_until_ready()
        undisturbed = actions_of(site.first.url, restored(site, "undisturbed"))
        refused = httpx.get(f"{old.url}/episodes/{restored(site, 'both')}").json()
        assert (refused["status"], refused["retryable"]) == (503, True)
        assert "schema 2" in refused["detail"]
        with balanced(site, old, site.first) as visits:
            assert actions_of(site.relay.url, "both") == undisturbed
            assert min(visits()) > 0
        assert old.tracebacks() == 0
    finally:
        old.stop()


def restored(site: Site, episode_id: str) -> str:
    """Give the newer replica a window that is shorter than its ring; the id."""
    answer = httpx.put(f"{site.first.url}/episodes/{episode_id}/window", json=SHORT_WINDOW)
    assert answer.status_code == 200, answer.text
    return episode_id


def actions_of(url: str, episode_id: str) -> list[list[float]]:
    """Of the steps that follow, until the ring is full again, by a client that tries again."""
    with PolicyClient(url, deadline_seconds=60) as client:
        episode = client.resume(episode_id)
        return [episode.act(OBSERVATION, reward=0.5).action for _ in range(7)]
