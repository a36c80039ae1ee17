"""Service and clients as real processes: the same bits in process and over HTTP, through kills and restarts."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis

from clients.evaluation import Evaluation
from clients.evaluation_config import EvaluationConfig
from clients.policy_client import PolicyClient
from clients.realtime import RealtimeEpisode
from lamo.agent import PolicyAgent
from lamo.policy import Policy
from lamo.rollout import EpisodePlan, EpisodeResult, play
from service.store.embedded import EmbeddedRedis
from tests.faults.policies import ENVIRONMENT, write_policies
from tests.faults.processes import Replica
from training.environments import make_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the private Redis needs Unix sockets")

STEPS = 30


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_policies(tmp_path_factory.mktemp("policies"), max_timesteps=STEPS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def service(policies: Path, data: Path) -> Iterator[Replica]:
    running = Replica(policies, data.with_suffix(".log"), "--data-dir", str(data), "--log-level", "error")
    running.start()
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # what a killed service leaves behind
            os.kill(redis_pid(data), signal.SIGTERM)


def redis_pid(data: Path) -> int:
    return int((data / "redis.pid").read_text())


def over_http(url: str, policy: str, out: Path, *, episodes: int) -> Sequence[EpisodeResult]:
    evaluation = Evaluation.prepare(
        EvaluationConfig(url, policy, out, episodes=episodes, parallel=64, seed=4, traces=True)
    )
    evaluation.play()
    return [evaluation.results[plan] for plan in evaluation.planned]


def in_process(policies: Path, name: str, plans: Sequence[EpisodePlan], parallel: int) -> Sequence[EpisodeResult]:
    policy = Policy.load(policies / name, reproducible=True)
    return play(
        PolicyAgent(policy),
        lambda: make_environment(ENVIRONMENT),
        plans,
        parallel=parallel,
        max_timesteps=STEPS,
        traces=True,
    )


def assert_same_bits(left: Sequence[EpisodeResult], right: Sequence[EpisodeResult]) -> None:
    assert [result.plan for result in left] == [result.plan for result in right]
    for one, other in zip(left, right, strict=True):
        assert one.trace is not None
        assert other.trace is not None
        for name in ("observations", "actions", "rewards"):
            assert getattr(one.trace, name).tobytes() == getattr(other.trace, name).tobytes(), (name, one.plan)


@pytest.mark.parametrize("name", ["sliding", "standing"])
def test_the_same_seeds_give_the_same_bits_in_process_and_over_http_alone_and_among_63(
    policies: Path, service: Replica, tmp_path: Path, name: str
) -> None:
    remote = over_http(service.url, name, tmp_path / "together", episodes=32)
    assert len(remote) == 64
    local = in_process(policies, name, [result.plan for result in remote], parallel=64)
    assert_same_bits(remote, local)
    alone = over_http(service.url, name, tmp_path / "alone", episodes=1)
    assert_same_bits(alone, [remote[0], remote[32]])
    assert len({result.trace.actions.tobytes() for result in remote if result.trace is not None}) == 64


@pytest.mark.parametrize("with_redis", [False, True], ids=["the service", "the service and its Redis"])
def test_an_evaluation_survives_the_kill_of(
    policies: Path, service: Replica, data: Path, tmp_path: Path, with_redis: bool
) -> None:
    outcome: list[Sequence[EpisodeResult]] = []
    player = threading.Thread(
        target=lambda: outcome.append(over_http(service.url, "sliding", tmp_path / "out", episodes=16)), daemon=True
    )
    player.start()
    steps_before = wait_for_steps(service.url, 150)
    service.kill()
    if with_redis:
        os.kill(redis_pid(data), signal.SIGKILL)
    assert player.is_alive(), f"killed after {steps_before} of 960 steps, in the middle"
    time.sleep(0.3)
    service.start()
    player.join(timeout=120)
    assert outcome, "the evaluation did not finish"
    service.wait_until_ready()
    undisturbed = in_process(policies, "sliding", [result.plan for result in outcome[0]], parallel=32)
    assert_same_bits(outcome[0], undisturbed)


@pytest.mark.parametrize("name", ["sliding", "standing"])
def test_an_evaluation_survives_a_wiped_redis(
    policies: Path, service: Replica, data: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    outcome: list[Sequence[EpisodeResult]] = []
    player = threading.Thread(
        target=lambda: outcome.append(over_http(service.url, name, tmp_path / "out", episodes=8)), daemon=True
    )
    player.start()
    for steps in (50, 250):
        wait_for_steps(service.url, steps)
        with redis.Redis.from_url(EmbeddedRedis(data).url) as store:
            store.flushall()
    assert player.is_alive()
    player.join(timeout=120)
    assert outcome, "the evaluation did not finish"
    assert caplog.text.count("restored episode") >= 32
    undisturbed = in_process(policies, name, [result.plan for result in outcome[0]], parallel=16)
    assert_same_bits(outcome[0], undisturbed)


def test_a_control_loop_that_never_waits_tells_of_every_timestep_through_a_kill(service: Replica) -> None:
    rewards = [0.1 * step for step in range(STEPS)]
    longest, answered = 0.0, 0
    with (
        PolicyClient(service.url, deadline_seconds=60) as client,
        RealtimeEpisode(client.start("sliding", 40.0)) as episode,
    ):
        executed: list[float] | None = None
        for step in range(STEPS):
            if step == 10:
                service.kill()
                service.start()
            began = time.monotonic()
            reward = rewards[step] if step else None
            answer = episode.act([0.01 * step] * 12, reward, executed, within_seconds=0.05)
            longest = max(longest, time.monotonic() - began)
            answered += answer is not None
            executed = [0.5, -0.5] if answer is None else None
        summary = episode.end(1.0, executed_action=executed, truncated=True)
    assert 0 < answered <= 10
    assert longest < 0.05 + 0.2
    assert summary.length == STEPS
    assert summary.episode_return == pytest.approx(sum(rewards) + 1.0)


def wait_for_steps(url: str, steps: int) -> int:
    """Wait until the service has committed this many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = urllib.request.urlopen(f"{url}/metrics", timeout=5).read().decode()
        (count,) = (
            int(float(line.split()[1])) for line in text.splitlines() if line.startswith("lamo_steps_total ")
        )
        if count >= steps:
            return count
        time.sleep(0.01)
    raise AssertionError(f"no {steps} steps within 60 s")
