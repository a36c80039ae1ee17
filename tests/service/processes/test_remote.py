"""A worker's side of the socket and the engine's: whatever is asked of one is answered by the other."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from lamo.errors import Draining, EngineUnavailable, InternalError, NotReady, StepConflict, UnknownEpisode
from lamo.wire import ActAnswer, EndRequest, EpisodeState, EpisodeSummary, Health, PolicyList, StartRequest, Timing
from service.callers import Caller
from service.processes.engine_server import EngineServer
from service.processes.remote import Remote
from service.serving import AskedStep
from service.steps.contents import EndContent, StepContent

pytestmark = pytest.mark.anyio

TIMING = Timing(queue_ms=1, recall_ms=2, infer_ms=3, commit_ms=4, total_ms=10, batch_size=5)


class Episodes:
    """A Serving without policies: its action is the observation, and it knows who was started."""

    def __init__(self):
        self.episodes: dict[str, EpisodeState] = {}
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.cancelled: list[str] = []
        self.status = Health(status="ready")

    async def policies(self, caller):
        return PolicyList(api_version="1", server_version="2", policies=[])

    async def start(self, caller, request, episode_id=None):
        state = EpisodeState(
            episode_id=episode_id, policy=request.policy, revision="r", hop=1, dtype="float32",
            target_return=request.target_return, return_to_go=0.1, episode_return=0, committed_step=-1,
            expected_step=0, labels=request.labels, expires_at=1.5, ended=False,
        )  # fmt: skip
        started = episode_id not in self.episodes
        self.episodes[episode_id] = state
        return state, started

    async def act(self, asked):
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled.append(asked.episode_id)
            raise
        if asked.content.step == 9:
            raise StepConflict("gap", committed_step=4, expected_step=5)
        return ActAnswer(
            episode_id=asked.episode_id, step=asked.content.step, action=asked.content.observation.tolist(),
            return_to_go=1 / 3, policy="p", revision="r", committed_step=0, replayed=False, clipped=[1],
            observation_zscore=0.5, timing=TIMING,
        )  # fmt: skip

    async def act_together(self, asked):
        return [UnknownEpisode("who?") if one.episode_id == "nobody" else await self.act(one) for one in asked]

    async def end(self, caller, episode_id, request):
        self.ending = request
        return EpisodeSummary(
            episode_id=episode_id, length=request.step, episode_return=request.reward, target_return=1,
            terminated=request.terminated, truncated=request.truncated, success=request.success,
        )  # fmt: skip

    async def state(self, caller, episode_id):
        return self.episodes[episode_id]

    async def delete(self, caller, episode_id):
        self.episodes.pop(episode_id, None)

    async def policy(self, caller, name):
        raise ZeroDivisionError(name)

    async def health(self):
        return Health(status="ok")

    async def readiness(self):
        return self.status


def step(episode_id: str, number: int = 0) -> AskedStep:
    content = StepContent(number, None, None, np.array([1, 0.5], np.float32), None)
    return AskedStep(Caller(), episode_id, content, 0.0, math.inf)


@asynccontextmanager
async def joined(folder: Path, engines: int = 1):
    """Engines behind sockets, and what a worker asks them through."""
    servings = [Episodes() for _ in range(engines)]
    sockets = [folder / f"{index}.sock" for index in range(engines)]
    async with AsyncExitStack() as stack:
        for serving, path in zip(servings, sockets, strict=True):
            await stack.enter_async_context(EngineServer(serving, path))
        remote = await stack.enter_async_context(Remote(sockets))
        await until_ready(remote)
        yield remote, servings


async def until_ready(remote: Remote) -> None:
    async with asyncio.timeout(10):
        while (await remote.readiness()).status != "ready":
            await asyncio.sleep(0.01)


async def test_everything_that_can_be_asked_arrives_and_comes_back(tmp_path):
    async with joined(tmp_path) as (remote, [serving]):
        request = StartRequest(policy="p", target_return=0.1, labels={"robot": "7"})
        state, started = await remote.start(Caller(), request, "robot")
        assert started
        assert state == serving.episodes["robot"] == await remote.state(Caller(), "robot")
        assert not (await remote.start(Caller(), request, "robot"))[1]
        drawn, _ = await remote.start(Caller(), request)
        assert len(drawn.episode_id) >= 22
        assert await remote.policies(Caller()) == await serving.policies(Caller())
        assert await remote.act(step("robot")) == await serving.act(step("robot"))
        ending = EndRequest(step=4, reward=0.7, terminated=True, success=True)
        assert await remote.end(Caller(), "robot", ending) == await serving.end(Caller(), "robot", ending)
        shown = {"dtype": "<f4", "shape": [2], "data": np.array([1, 0.5], np.float32).tobytes()}
        assert EndContent.of(serving.ending).observation is None
        await remote.end(
            Caller(), "robot", EndRequest.model_validate({"step": 4, "reward": 0.0, "observation": shown})
        )
        assert EndContent.of(serving.ending).observation.tolist() == [1, 0.5]
        await remote.delete(Caller(), "robot")
        assert "robot" not in serving.episodes
        assert await remote.health() == Health(status="ok")


async def test_refusals_come_back_as_themselves_and_the_unforeseen_as_one_sentence(tmp_path, caplog):
    async with joined(tmp_path) as (remote, _):
        with pytest.raises(StepConflict) as refused:
            await remote.act(step("robot", 9))
        assert (refused.value.committed_step, refused.value.expected_step) == (4, 5)
        with pytest.raises(InternalError, match="engine's log"):
            await remote.policy(Caller(request_id="robot-7", trace_id="ab" * 16), "p")
        assert "ZeroDivisionError" in caplog.text
        [told] = [vars(record) for record in caplog.records if record.exc_info]
        assert (told["call"], told["request_id"], told["trace_id"]) == ("policy", "robot-7", "ab" * 16)


async def test_a_step_nobody_waits_for_is_cancelled_in_the_engine(tmp_path):
    async with joined(tmp_path) as (remote, [serving]):
        serving.let_go.clear()
        calls = {name: asyncio.create_task(remote.act(step(name))) for name in ("left", "stays")}
        await remote.health()
        calls["left"].cancel()
        await asyncio.wait([calls["left"]])
        await remote.health()
        assert serving.cancelled == ["left"]
        serving.let_go.set()
        assert (await calls["stays"]).episode_id == "stays"


async def test_an_engine_that_goes_away_is_told_to_those_who_wait_and_found_again(tmp_path):
    path, serving = tmp_path / "engine.sock", Episodes()
    async with Remote([path]) as remote:
        assert (await remote.readiness()).status == "loading"
        assert (await remote.health()).status == "ok"
        with pytest.raises(NotReady, match="being started") as refused:
            await remote.act(step("robot"))
        assert refused.value.retryable
        for _ in range(2):
            async with EngineServer(serving, path):
                await until_ready(remote)
                assert (await remote.act(step("robot"))).action == [1, 0.5]
                serving.let_go.clear()
                call = asyncio.create_task(remote.act(step("robot")))
                await remote.health()
            with pytest.raises(EngineUnavailable, match="may or may not be committed") as refused:
                await call
            assert refused.value.retryable
            assert refused.value.retry_after_ms
            serving.let_go.set()
            assert (await remote.readiness()).status == "loading"


async def test_a_worker_that_dies_takes_its_calls_with_it(tmp_path):
    async with joined(tmp_path) as (remote, [serving]):
        async with Remote([tmp_path / "0.sock"]) as other:
            await until_ready(other)
            serving.let_go.clear()
            call = asyncio.create_task(other.act(step("robot")))
            await other.health()
        with pytest.raises(EngineUnavailable):
            await call
        async with asyncio.timeout(10):
            while serving.cancelled != ["robot"]:
                await remote.health()


async def test_episodes_are_spread_over_engines_and_each_is_found_where_it_is(tmp_path):
    async with joined(tmp_path, engines=3) as (remote, servings):
        names = [f"robot-{index}" for index in range(60)]
        for name in names:
            await remote.start(Caller(), StartRequest(policy="p", target_return=1.0), name)
        shares = [len(serving.episodes) for serving in servings]
        assert sum(shares) == 60
        assert min(shares) >= 8
        assert [(await remote.state(Caller(), name)).episode_id for name in names] == names
        together = await remote.act_together([step(name) for name in [*names, "nobody"]])
        assert [answer.episode_id for answer in together[:60]] == names
        assert type(together[60]) is UnknownEpisode


async def test_the_worst_engine_speaks_for_all(tmp_path):
    async with joined(tmp_path, engines=2) as (remote, servings):
        servings[1].status = Health(status="draining")
        assert (await remote.readiness()).status == "draining"


async def test_a_draining_worker_starts_nothing_new_and_finishes_the_rest(tmp_path):
    async with joined(tmp_path) as (remote, _):
        remote.draining = True
        with pytest.raises(Draining):
            await remote.start(Caller(), StartRequest(policy="p", target_return=1.0), "robot")
        assert (await remote.readiness()).status == "draining"
        assert (await remote.act(step("robot"))).episode_id == "robot"


async def test_an_engine_that_says_nothing_has_stalled(tmp_path, monkeypatch):
    class Mute(Episodes):
        async def health(self):
            return await asyncio.get_running_loop().create_future()

        readiness = health

    async with EngineServer(Mute(), tmp_path / "0.sock"), Remote([tmp_path / "0.sock"]) as remote:
        monkeypatch.setattr("service.processes.remote.PROBE_SECONDS", 0.05)
        async with asyncio.timeout(10):
            while (await remote.health()).status == "ok":
                await asyncio.sleep(0.01)
        assert (await remote.health()).status == "stalled"
        assert (await remote.readiness()).status == "loading"
