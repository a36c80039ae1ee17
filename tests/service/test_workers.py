"""Several real processes: HTTP workers and engines that are killed, come back, count together and end together."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.policy_client import AsyncPolicyClient
from service.metrics import Metrics
from tests.faults.processes import below, lives, wait_until
from tests.service.conftest import content, in_process
from tests.service.test_process import act, serving, start

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into processes through /proc")


class Running:
    """A service of several processes that is ready."""

    def __init__(self, process: subprocess.Popen[bytes], client: httpx.Client, log: Path):
        self.process, self.client, self._log = process, client, log

    def pid(self, name: str) -> int:
        """Of the process that was started last under a name."""
        return [event["pid"] for event in self._events("process started") if event["role"] == name][-1]

    def standby(self) -> int:
        """Of the process that waits to become an engine, once it is there."""
        wait_until(lambda: bool(self._events("standby started")))
        return self._events("standby started")[-1]["pid"]

    def fresh(self) -> httpx.Client:
        """A client with a connection of its own, which any worker may have taken."""
        return httpx.Client(base_url=self.client.base_url, timeout=20)

    def ready(self) -> bool:
        with self.fresh() as client:
            return client.get("/readyz").status_code == 200

    def _events(self, name: str) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [event for event in events if event["event"] == name]


@contextmanager
def running(policies: Path, data: Path, *options: str) -> Iterator[Running]:
    with serving(policies, data, *options) as (process, client):
        yield Running(process, client, data.with_suffix(".log"))


def loads_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def test_two_workers_and_an_engine_are_one_service_through_every_death(checkpoint_directory, policy, tmp_path):
    options = ("--workers", "2", "--reproducible", "--batch-limit", "8")
    with running(checkpoint_directory.parent, tmp_path / "data", *options) as service:
        client = service.client
        assert client.put("/episodes/robot", json={"target_return": 20}).status_code == 201
        actions = [act(client, step).json()["action"] for step in range(5)]

        workers = [service.pid(f"HTTP worker {index}") for index in range(2)]
        wait_until(service.ready)
        assert [loads_torch(pid) for pid in (service.process.pid, *workers)] == [False, False, False]
        assert loads_torch(service.pid("engine 0 on cpu"))

        actions += kill_worker(service, workers[0])
        actions += kill_engine(service)
        compare_metrics(service)
        actions += end_in_the_middle_of_a_step(service)
    policy.reproducible = True
    assert actions == in_process(policy, 11)


def kill_worker(service: Running, pid: int) -> list[list[float]]:
    """The other's connections go on; whoever comes anew waits a little at most."""
    os.kill(pid, signal.SIGKILL)
    actions = []
    for step in (5, 6):
        with service.fresh() as client:
            actions.append(act(client, step).json()["action"])
    wait_until(lambda: service.pid("HTTP worker 0") != pid)
    assert all(service.ready() for _ in range(12))  # so many connections that both workers have some
    return actions


def kill_engine(service: Running) -> list[list[float]]:
    """Whoever waits is told to ask again; the next engine recalls the episode, and the client carries on."""
    engine, standby = service.pid("engine 0 on cpu"), service.standby()
    os.kill(engine, signal.SIGSTOP)
    answers = []
    with service.fresh() as client:
        waiting = threading.Thread(target=lambda: answers.append(act(client, 7)), daemon=True)
        waiting.start()
        time.sleep(0.3)
        os.kill(engine, signal.SIGKILL)
        waiting.join()
    assert answers[0].status_code == 503
    assert answers[0].json()["type"] == "urn:lamo:problem:engine-unavailable"
    assert answers[0].json()["retryable"]
    with service.fresh() as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json()["status"] == "loading"
        assert act(client, 7).json()["type"] == "urn:lamo:problem:not-ready"

    async def carried() -> list[list[float]]:
        async with AsyncPolicyClient(str(service.client.base_url), deadline_seconds=60) as client:
            episode = await client.start("small")
            first = await episode.act(content(0)["observation"])
            assert first.step == 0
            await episode.delete()
        return []

    asyncio.run(carried())
    with service.fresh() as client:
        actions = [act(client, step).json()["action"] for step in range(7, 10)]
    assert service.pid("engine 0 on cpu") == standby
    return actions


def compare_metrics(service: Running) -> None:
    """Any worker tells all of it, what dead processes counted included, in the words of one process."""
    told = []
    for _ in range(6):
        with service.fresh() as client:
            told.append(client.get("/metrics").text)
    for text in told:
        assert "lamo_steps_total 11.0" in text  # ten of the robot, one of the client
        assert 'lamo_refusals_total{reason="engine-unavailable"} 1.0' in text
        assert re.findall(r"^lamo_policy_info.* (\S+)$", text, re.MULTILINE) == ["1.0"]
        assert "lamo_redis_up 1.0" in text
    alone = Metrics().render().decode()
    assert set(re.findall(r"^# .*$", alone, re.MULTILINE)) == set(re.findall(r"^# .*$", told[0], re.MULTILINE))


def end_in_the_middle_of_a_step(service: Running) -> list[list[float]]:
    """SIGTERM lets the step under way be answered, and leaves no process and no folder behind."""
    engine, family = service.pid("engine 0 on cpu"), [service.process.pid, *below(service.process.pid)]
    [folder] = {
        match for pid in family for match in re.findall(r"/\S*/lamo-\w+/", Path(f"/proc/{pid}/maps").read_text())
    }
    assert Path(folder).stat().st_mode & 0o077 == 0
    os.kill(engine, signal.SIGSTOP)
    answers = []
    with service.fresh() as client:
        waiting = threading.Thread(target=lambda: answers.append(act(client, 10)), daemon=True)
        waiting.start()
        time.sleep(0.3)
        service.process.terminate()
        time.sleep(0.5)
        os.kill(engine, signal.SIGCONT)
        waiting.join()
    assert service.process.wait(20) == 0
    wait_until(lambda: not any(map(lives, family)))  # the tracker of shared resources ends after its parent
    assert not Path(folder).exists()
    return [answers[0].json()["action"]]


def test_two_engines_share_the_episodes_and_nothing_outlives_a_killed_supervisor(checkpoint_directory, tmp_path):
    data = tmp_path / "data"
    with running(checkpoint_directory.parent, data, "--device", "cpu,cpu", "--batch-limit", "8") as service:
        client = service.client
        names = [f"robot-{index}" for index in range(8)]
        for name in names:
            assert client.put(f"/episodes/{name}", json={}).status_code == 201
            answer = client.post(f"/episodes/{name}/act", json=content(0) | {"step": 0})
            assert (answer.status_code, answer.json()["replayed"]) == (200, False)
        drawn = client.post("/episodes", json={})
        assert client.get(drawn.headers["location"]).status_code == 200
        engines = [service.pid(f"engine {index} on cpu") for index in range(2)]
        assert len(set(engines)) == 2
        text = client.get("/metrics").text
        assert "lamo_steps_total 8.0" in text
        assert 'lamo_active_episodes{policy="small"' in text

        standby = service.standby()
        os.kill(standby, signal.SIGKILL)  # nobody needs it alive
        os.kill(engines[1], signal.SIGKILL)
        wait_until(lambda: service.pid("engine 1 on cpu") not in (standby, *engines))
        wait_until(service.ready)

        family = below(service.process.pid)
        redis = int((data / "redis.pid").read_text())
        service.process.kill()
        wait_until(lambda: not any(map(lives, [*family, redis])))


def test_a_checkpoint_no_engine_can_open_ends_all_with_one_sentence(checkpoint_directory, tmp_path):
    broken = tmp_path / "policies" / "broken"
    shutil.copytree(checkpoint_directory, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    process = start(broken.parent, tmp_path / "data", "--workers", "1")
    assert process.wait(60) == 2
    said = (tmp_path / "data.log").read_text()
    last = said.splitlines()[-1]
    assert last.startswith("lamo-serve: ")
    assert "model.safetensors (7 bytes) is truncated" in last
    assert "Traceback" not in said


def test_whoever_is_told_to_stop_while_it_starts_stops_without_a_traceback(checkpoint_directory, tmp_path):
    process = start(checkpoint_directory.parent, tmp_path / "data", "--workers", "1")
    log = tmp_path / "data.log"
    wait_until(lambda: log.read_text().count("process started") == 2)
    family = below(process.pid)
    process.terminate()
    assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()
    wait_until(lambda: not any(map(lives, family)))
