"""Leaving on SIGTERM: as real processes, alone and with workers; nothing under way is lost, nothing is begun."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import content, in_process
from tests.service.test_process import act, serving, wait_until
from tests.service.test_workers import running

ROBOTS = 24


@pytest.mark.parametrize("layout", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_service_that_is_told_to_stop_finishes_what_it_began_and_begins_nothing(
    checkpoint_directory, tmp_path, layout
):
    options = ("--reproducible", "--batch-limit", "8", "--drain-seconds", "1.5", "--grace-seconds", "5", *layout)
    options += ("--queue-seconds", "5")  # these robots do not try again when a busy machine refuses them
    with serving(checkpoint_directory.parent, tmp_path / "data", *options) as (process, client):
        for robot in range(ROBOTS):
            assert client.put(f"/episodes/robot-{robot}", json={}).status_code == 201
        told = threading.Event()

        def drive(robot: int) -> int:
            """Steps answered until the first that was asked for after the signal is."""
            with httpx.Client(base_url=client.base_url, timeout=20) as own:
                for step in range(30):
                    last = told.is_set()
                    body = content(step) | {"step": step}
                    answer = own.post(f"/episodes/robot-{robot}/act", json=body)
                    assert answer.status_code == 200, answer.text
                    if last:
                        return step + 1
            raise AssertionError("30 steps were over before the signal came")

        with ThreadPoolExecutor(ROBOTS) as pool:
            driven = [pool.submit(drive, robot) for robot in range(ROBOTS)]
            time.sleep(0.1)
            process.terminate()
            began = time.monotonic()
            told.set()
            with httpx.Client(base_url=client.base_url, timeout=20) as fresh:
                wait_until(lambda: fresh.get("/readyz").status_code == 503)
                assert fresh.get("/readyz").json()["status"] == "draining"
                assert fresh.get("/healthz").status_code == 200
                refused = fresh.put("/episodes/new", json={})
                assert (refused.status_code, refused.json()["type"]) == (503, "urn:lamo:problem:draining")
                assert int(refused.headers["retry-after"]) >= 1
            assert all(future.result() > 0 for future in driven)
        assert process.wait(20) == 0
        assert time.monotonic() - began < 1.5 + 5


def test_a_client_that_tries_again_loses_nothing_when_one_of_two_replicas_leaves(
    checkpoint_directory, policy, redis_url, tmp_path
):
    options = ("--redis-url", redis_url, "--reproducible", "--batch-limit", "8")
    policies, actions = checkpoint_directory.parent, []
    with (
        serving(policies, tmp_path / "left", *options) as (left, left_client),
        serving(policies, tmp_path / "right", *options) as (_, right_client),
    ):
        assert left_client.put("/episodes/robot", json={"target_return": 20}).status_code == 201
        for step in range(20):
            if step == 7:
                left.terminate()
            actions.append(persist([left_client, right_client], step))
        assert left.wait(20) == 0
    policy.reproducible = True
    assert actions == in_process(policy, 20)


def persist(clients: list[httpx.Client], step: int) -> list[float]:
    """The action of a step, from whichever replica gives it, the other one first every time."""
    for attempt in range(1000):
        with suppress(httpx.TransportError):
            answer = act(clients[(step + attempt) % 2], step)
            if answer.status_code == 200:
                assert answer.json()["step"] == step
                return answer.json()["action"]
            assert answer.json()["retryable"], answer.text
        time.sleep(0.01)
    raise AssertionError(f"step {step} was never answered")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into processes through /proc")
def test_an_engine_that_hangs_is_killed_and_started_again(checkpoint_directory, policy, tmp_path):
    options = ("--workers", "1", "--reproducible", "--batch-limit", "8", "--hang-seconds", "3")
    with running(checkpoint_directory.parent, tmp_path / "data", *options) as service:
        assert service.client.put("/episodes/robot", json={"target_return": 20}).status_code == 201
        actions = [act(service.client, step).json()["action"] for step in range(4)]
        engine = service.pid("engine 0 on cpu")
        os.kill(engine, signal.SIGSTOP)
        began = time.monotonic()
        answer = act(service.client, 4)
        assert answer.json()["type"] == "urn:lamo:problem:engine-unavailable"
        assert 2 < time.monotonic() - began < 10
        wait_until(service.ready)
        assert service.pid("engine 0 on cpu") != engine
        actions += [act(service.client, step).json()["action"] for step in range(4, 8)]
    policy.reproducible = True
    assert actions == in_process(policy, 8)


@pytest.mark.anyio
async def test_a_service_that_is_told_to_stop_while_it_loads_leaves_the_other_policies_alone(
    checkpoint_directory, redis_url, tmp_path
):
    from service.policies.engine import Engine
    from service.processes.app import create_app
    from service.settings import Settings

    for name in ("left", "right"):
        shutil.copytree(checkpoint_directory, tmp_path / name)
    loaded, loading, release = [], threading.Event(), threading.Event()

    class SlowLoading(Engine):
        def _load(self, found):
            loading.set()
            release.wait(10)
            loaded.append(found.name)
            return super()._load(found)

    app = create_app(Settings(policies=tmp_path, redis_url=redis_url), engine=SlowLoading(tmp_path, batch_limit=2))
    async with app.router.lifespan_context(app):
        assert await asyncio.to_thread(loading.wait, 10)
        asyncio.get_running_loop().call_later(0.1, release.set)
    assert loaded == ["left"]
    assert app.state.lifecycle.failure is None
