"""The service as a real process: killed, its Redis killed, told to stop, and started on what it cannot use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from service.store.embedded import EmbeddedRedis
from tests.faults.processes import ROOT, wait_until
from tests.service.conftest import content, in_process


def start(policies: Path, data: Path, *options: str) -> subprocess.Popen[bytes]:
    """The command in a process of its own; its events go to `data`.log."""
    arguments = ["--policies", str(policies), "--data-dir", str(data), "--port", "0", "--device", "cpu", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAMO_")}
    with data.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "service.cli", *arguments],
            cwd=ROOT,
            env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stderr=log,
        )


@contextmanager
def serving(policies: Path, data: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A service that is ready, and a client of it."""
    process = start(policies, data, *options)
    try:
        log = data.with_suffix(".log")
        wait_until(lambda: "listening" in log.read_text() or process.poll() is not None)
        url = next(event["url"] for event in map(json.loads, log.read_text().splitlines()) if "url" in event)
        with httpx.Client(base_url=url, timeout=20) as client:
            wait_until(lambda: client.get("/readyz").status_code == 200)
            yield process, client
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def act(client: httpx.Client, step: int) -> httpx.Response:
    return client.post("/episodes/robot/act", json=content(step) | {"step": step})


def test_an_episode_goes_on_after_the_service_and_its_redis_are_killed(checkpoint_directory, policy, tmp_path):
    data = tmp_path / "data"
    options = ("--reproducible", "--fsync", "always", "--batch-limit", "8")
    actions = []
    with serving(checkpoint_directory.parent, data, *options) as (process, client):
        assert client.put("/episodes/robot", json={"target_return": 20}).status_code == 201
        actions += [act(client, step).json()["action"] for step in range(7)]
        process.kill()
        process.wait()
    redis_pid = int((data / "redis.pid").read_text())
    os.kill(redis_pid, 0)  # it outlives a killed service

    with serving(checkpoint_directory.parent, data, *options) as (process, client):
        assert int((data / "redis.pid").read_text()) == redis_pid
        assert act(client, 6).json()["replayed"]
        actions += [act(client, step).json()["action"] for step in range(7, 9)]

        os.kill(redis_pid, signal.SIGKILL)
        step, statuses = 9, set()
        deadline = time.monotonic() + 30
        while step < 12:
            answer = act(client, step)
            statuses.add(answer.status_code)
            if answer.status_code == 200:
                actions.append(answer.json()["action"])
                step += 1
            else:
                assert answer.json()["type"] == "urn:lamo:problem:store-unavailable"
                assert answer.json()["retryable"]
            assert time.monotonic() < deadline
        assert statuses <= {200, 503}
        assert client.get("/episodes/robot").json()["committed_step"] == 11

        process.terminate()
        assert process.wait(20) == 0
    assert not _listens(data)
    policy.reproducible = True
    assert actions == in_process(policy, 12)


def _listens(data: Path) -> bool:
    from service.store.embedded import _answers

    return _answers(EmbeddedRedis(data).socket_path)


def test_a_truncated_checkpoint_ends_the_service_with_one_sentence(checkpoint_directory, tmp_path):
    broken = tmp_path / "policies" / "broken"
    shutil.copytree(checkpoint_directory, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert start(broken.parent, tmp_path / "data").wait(60) == 2
    said = (tmp_path / "data.log").read_text()
    last = said.splitlines()[-1]
    assert last.startswith("lamo-serve: ")
    assert "model.safetensors (1000 bytes) is truncated" in last
    assert "Traceback" not in said
