"""Service and clients as real processes: the same bits in process and over HTTP, through kills and restarts."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import training.reacher2d  # noqa: F401 - registers the environment
from clients.evaluation import Evaluation
from clients.evaluation_config import EvaluationConfig
from lamo import checkpoint
from lamo.agent import PolicyAgent
from lamo.config import ActionSpace, ObservationSpace, PolicyConfig
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.policy import Policy
from lamo.rollout import EpisodePlan, EpisodeResult, play
from training.data.recording import record_episodes
from training.environments import make_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the private Redis needs Unix sockets")

ENVIRONMENT = "training.reacher2d:Reacher2d-v0"
TARGETS = (76.0, 40.0)
STEPS = 30


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory, config: PolicyConfig) -> Path:
    """Two policies for Reacher2d, with a sliding window and with a standing one; untrained, but never constant."""
    folder = tmp_path_factory.mktemp("policies")
    for name, hop in (("sliding", 1), ("standing", 4)):
        shape = replace(
            config,
            task="reacher2d",
            observation=ObservationSpace((12,)),
            action=ActionSpace((2,), (-1.0, -1.0), (1.0, 1.0)),
            hop=hop,
            target_returns=TARGETS,
            timestep_table_size=STEPS,
            max_timesteps=STEPS,
            environment=ENVIRONMENT,
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            tensors = LamoModel(shape).state_dict()
        observations = record_episodes([1, 2])[0].observations
        checkpoint.write(
            folder / name, shape, tensors, Normalization.of(observations), training={}, card="# for tests\n"
        )
    return folder


class ServiceProcess:
    """`lamo-serve` on a port of its own, in reproducible mode, with its private Redis in `data`."""

    def __init__(self, policies: Path, data: Path) -> None:
        self.data = data
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.words = [
            sys.executable, "-m", "service.cli", "--policies", str(policies), "--port", str(self.port),
            "--data-dir", str(data), "--device", "cpu", "--reproducible", "--log-level", "error",
            "--threads", "1",  # as in this process (tests/conftest.py): equal bits need equal numbers of threads
        ]  # fmt: skip
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        self.process = subprocess.Popen(self.words, env=environment)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, "the service ended"
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{self.url}/readyz", timeout=2).close()
                return
            time.sleep(0.05)
        raise AssertionError("the service was not ready within 60 s")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def kill_redis(self) -> None:
        os.kill(int((self.data / "redis.pid").read_text()), signal.SIGKILL)

    def stop_redis(self) -> None:
        """End the private Redis that a killed service leaves to its successor."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((self.data / "redis.pid").read_text()), signal.SIGTERM)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(timeout=30) == 0


@pytest.fixture
def service(policies: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    running = ServiceProcess(policies, tmp_path / "data")
    running.start()
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.stop()
        running.stop_redis()


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
    policies: Path, service: ServiceProcess, tmp_path: Path, name: str
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
    policies: Path, service: ServiceProcess, tmp_path: Path, with_redis: bool
) -> None:
    outcome: list[Sequence[EpisodeResult]] = []
    player = threading.Thread(
        target=lambda: outcome.append(over_http(service.url, "sliding", tmp_path / "out", episodes=16))
    )
    player.start()
    steps_before = wait_for_steps(service.url, 150)
    service.kill()
    if with_redis:
        service.kill_redis()
    assert player.is_alive(), f"killed after {steps_before} of 960 steps, in the middle"
    time.sleep(0.3)
    service.start()
    player.join(timeout=120)
    assert outcome, "the evaluation did not finish"
    service.wait_until_ready()
    undisturbed = in_process(policies, "sliding", [result.plan for result in outcome[0]], parallel=32)
    assert_same_bits(outcome[0], undisturbed)


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
