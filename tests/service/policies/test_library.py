"""Revisions that appear, change and vanish on disk while episodes are played."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lamo import checkpoint
from lamo.errors import RevisionNotLoaded
from lamo.model import LamoModel
from lamo.policy import Policy
from tests.service.conftest import Service, content, in_process

pytestmark = pytest.mark.anyio

QUICK = {"policies_poll_seconds": 0.02, "revision_idle_seconds": 600}


@pytest.fixture
def write(config, normalization) -> Callable[[Path, int], str]:
    """Writes a checkpoint with the weights of a seed, and says its revision."""

    def written(directory: Path, seed: int) -> str:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = LamoModel(config).eval()
        return checkpoint.write(
            directory, config, model.state_dict(), normalization, training={"updates": seed}, card="# small\n"
        ).revision

    return written


@pytest.fixture
def publish(write, tmp_path) -> Callable[[int], str]:
    """Writes a seed's weights as `policies/small/<revision>/` and makes it the current one."""

    def published(seed: int) -> str:
        revision = write(tmp_path / "made", seed)
        checkpoint.publish(tmp_path / "made", tmp_path / "policies" / "small")
        return revision

    return published


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def current(service: Service) -> dict[str, str]:
    return {served.name: served.revision for served in service.lifecycle.engine.served}


async def persist(service: Service, episode: str, step: int) -> dict[str, object]:
    """An act that is sent again as long as the service says that it is worth it."""
    while True:
        answer = await service.act(episode, step, **content(step))
        if answer.status_code == 200:
            return answer.json()
        assert answer.json()["retryable"]
        assert answer.json()["retry_after_ms"] > 0
        await asyncio.sleep(0.02)


async def test_an_episode_stays_with_its_revision_bit_for_bit_and_new_ones_get_the_newer(serve, publish, tmp_path):
    first = publish(1)
    async with serve(policies=tmp_path / "policies", reproducible=True, **QUICK) as service:
        old = await service.start(target_return=20)
        actions = await service.play(old, 5)
        second = publish(2)
        await until(lambda: current(service) == {"small": second})
        new = await service.start(target_return=20)
        newer = await service.play(new, 12)
        actions += await service.play(old, 12, first=5)
        states = [(await service.client.get(f"/episodes/{episode}")).json() for episode in (old, new)]
        listed = (await service.client.get("/policies")).json()["policies"]
    assert [state["revision"] for state in states] == [first, second]
    assert [info["revision"] for info in listed] == [second]
    for revision, played in ((first, actions), (second, newer)):
        directory = tmp_path / "policies" / "small" / revision
        assert played == in_process(Policy.load(directory, reproducible=True), 12)
    assert actions != newer


async def test_an_unused_revision_is_unloaded_and_comes_back_when_its_episode_acts(serve, publish, tmp_path):
    first = publish(1)
    options = QUICK | {"revision_idle_seconds": 0.15}
    async with serve(policies=tmp_path / "policies", reproducible=True, **options) as service:
        old = await service.start(target_return=20)
        actions = await service.play(old, 5)
        engine = service.lifecycle.engine
        policy = engine.revisions.get(("small", first)).policy
        parts = (policy, policy._proposing, policy._proposing._memory, policy._proposing._network)
        freed = [weakref.ref(part) for part in parts]
        del policy, parts
        second = publish(2)
        await until(lambda: current(service) == {"small": second})
        await until(lambda: engine.revisions.get(("small", first)) is None)
        await until(lambda: not any(part() for part in freed))  # without the collector, which passes it over
        answer = await service.act(old, 5, **content(5))
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:lamo:problem:revision-not-loaded")
        assert int(answer.headers["retry-after"]) >= 1
        for step in range(5, 9):
            answered = await persist(service, old, step)
            assert answered["revision"] == first
            actions.append(answered["action"])
    directory = tmp_path / "policies" / "small" / first
    assert actions == in_process(Policy.load(directory, reproducible=True), 9)


async def test_a_start_may_ask_for_any_revision_on_disk(serve, publish, tmp_path):
    first, second = publish(1), publish(2)
    async with serve(policies=tmp_path / "policies", **QUICK) as service:
        told = await service.client.get(f"/policies/small@{first}")
        assert (told.status_code, told.json()["revision"]) == (200, first)
        assert service.lifecycle.engine.revisions.get(("small", first)) is None, "telling of it loads nothing"
        await service.start(policy=f"small@{second}")
        episode = await service.start(policy=f"small@{first}")
        assert (await service.act(episode, 0)).json()["revision"] == first
        assert (await service.client.get("/policies/small")).json()["revision"] == second
        same = {name: value for name, value in told.json().items() if name != "revision"}
        assert same == {
            name: value
            for name, value in (await service.client.get("/policies/small")).json().items()
            if name != "revision"
        }
        for name in (f"small@{'0' * 12}", "small@../small", f"../policies/small@{first}", f"large@{first}"):
            answer = await service.client.post("/episodes", json={"policy": name})
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:lamo:problem:unknown-policy")


async def test_a_revision_that_was_asked_for_before_it_was_there_is_served_once_it_is(
    serve, write, publish, tmp_path
):
    publish(1)
    second = write(tmp_path / "not-yet", 2)
    async with serve(policies=tmp_path / "policies", **QUICK) as service:
        answer = await service.client.post("/episodes", json={"policy": f"small@{second}"})
        assert answer.status_code == 404
        publish(2)
        await until(lambda: current(service) == {"small": second})


async def test_a_broken_newcomer_takes_nothing_down_and_is_told_once(serve, publish, tmp_path, caplog):
    first = publish(1)
    policy = tmp_path / "policies" / "small"
    async with serve(policies=tmp_path / "policies", **QUICK) as service:
        episode = await service.start()
        broken = policy / "broken"
        shutil.copytree(policy / first, broken)
        weights = broken / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        failures = service.lifecycle.metrics.policy_load_failures
        with caplog.at_level(logging.ERROR):
            (policy / "current").write_text("broken\n")
            await until(lambda: failures._value.get() == 1)
            (policy / "current").write_text("nowhere\n")
            await until(lambda: len(caplog.records) > 1)
            await asyncio.sleep(0.1)  # several more looks, which find nothing new
        reasons = [record.__dict__["reason"] for record in caplog.records if record.levelno == logging.ERROR]
        assert len(reasons) == 2
        assert "model.safetensors (1000 bytes) is truncated" in reasons[0]
        assert "names 'nowhere', which is no directory" in reasons[1]
        assert (await service.act(episode, 0)).status_code == 200
        assert current(service) == {"small": first}
        assert (await service.client.get("/readyz")).status_code == 200
        second = publish(2)
        await until(lambda: current(service) == {"small": second})


async def test_names_come_and_go_and_a_folder_that_is_away_takes_no_policy_along(serve, write, tmp_path):
    policies = tmp_path / "policies"
    left, right = write(policies / "left", 1), write(tmp_path / "right", 2)
    async with serve(policies=policies, **QUICK) as service:
        episode = await service.start()
        (tmp_path / "right").rename(policies / "right")
        await until(lambda: current(service) == {"left": left, "right": right})
        policies.rename(tmp_path / "away")
        await asyncio.sleep(0.15)
        assert current(service) == {"left": left, "right": right}
        (tmp_path / "away").rename(policies)
        shutil.rmtree(policies / "left")
        await until(lambda: current(service) == {"right": right})
        assert (await service.act(episode, 0)).json()["revision"] == left
        answer = await service.client.post("/episodes", json={"policy": "left"})
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:lamo:problem:unknown-policy")


async def test_a_policy_replaced_in_place_stays_loaded_until_its_episodes_have_expired(serve, write, tmp_path):
    directory = tmp_path / "policies" / "small"
    first = write(directory, 1)
    options = QUICK | {"revision_idle_seconds": 0.05}
    async with serve(policies=directory.parent, **options) as service:
        episode = await service.start(ttl_seconds=10)
        second = write(directory, 2)
        await until(lambda: current(service) == {"small": second})
        await asyncio.sleep(0.2)
        assert (await service.act(episode, 0)).json()["revision"] == first
        revisions = service.lifecycle.engine.revisions
        revisions._loaded["small", first].at -= 11
        await until(lambda: revisions.get(("small", first)) is None)
        answers = [await service.act(episode, 1)]
        await until(lambda: not service.lifecycle.acting._library._fetching)
        answers.append(await service.act(episode, 1))
        assert [answer.json()["type"] for answer in answers] == ["urn:lamo:problem:revision-not-loaded"] * 2
        assert "is neither loaded here nor on disk" in answers[1].json()["detail"]


async def test_acts_go_on_while_a_revision_loads_and_the_audit_log_tells_of_it(serve, publish, tmp_path, caplog):
    import threading

    from service.policies.engine import Engine

    release, loading = threading.Event(), threading.Event()

    class SlowLoading(Engine):
        def _load(self, found):
            if self._serving:
                loading.set()
                release.wait(10)
            return super()._load(found)

    publish(1)
    engine = SlowLoading(tmp_path / "policies", batch_limit=2)
    async with serve(policies=tmp_path / "policies", engine=engine, **QUICK) as service:
        episode = await service.start()
        with caplog.at_level(logging.INFO, logger="lamo.audit"):
            second = publish(2)
            await until(loading.is_set)
            for step in range(5):
                assert (await service.act(episode, step)).status_code == 200
            assert service.lifecycle.engine.revisions.get(("small", second)) is None
            release.set()
            await until(lambda: current(service) == {"small": second})
    [told] = [record for record in caplog.records if record.getMessage() == "revision loaded"]
    assert (told.getMessage(), told.policy, told.revision) == ("revision loaded", "small", second)


async def test_metrics_tell_which_revision_new_episodes_get(serve, publish, tmp_path):
    first = publish(1)
    async with serve(policies=tmp_path / "policies", **QUICK) as service:
        second = publish(2)
        await until(lambda: current(service) == {"small": second})
        told = {
            sample.labels["revision"]: sample.value
            for metric in service.lifecycle.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == "lamo_policy_info"
        }
        assert told == {first: 0, second: 1}


async def test_a_revision_that_is_asked_for_by_many_is_loaded_once(serve, publish, tmp_path):
    first, _ = publish(1), publish(2)
    async with serve(policies=tmp_path / "policies", **QUICK) as service:
        body = {"policy": f"small@{first}"}
        answers = await asyncio.gather(*(service.client.post("/episodes", json=body) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [201] * 4
        library = service.lifecycle.acting._library
        assert library.of_episode(("small", first), 10) is library.of_episode(("small", first), 10)
        with pytest.raises(RevisionNotLoaded, match="is being loaded if it is on disk"):
            library.of_episode(("small", "0" * 12), 10)
