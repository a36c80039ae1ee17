"""What an owner may take: acts under way, starts per second; and that others are served whatever it asks for."""

from __future__ import annotations

import asyncio

import pytest

from lamo.errors import OwnerLimit
from service.callers import Caller, EpisodeName, Limits
from service.metrics import Metrics
from service.owners import start_rates
from service.owners.start_rates import StartRates
from service.steps.cache import WindowCache
from service.steps.flight import Act
from service.steps.owner_queues import OwnerQueues
from service.steps.pace import Pace
from service.steps.waiting import Waiting
from tests.service.conftest import OBSERVATION, HeldEngine
from tests.service.keyholders import KeysOnDisk, holder
from tests.service.steps.test_restoring import Robot


@pytest.fixture
def disk(tmp_path) -> KeysOnDisk:
    return KeysOnDisk(tmp_path / "keys.toml")


@pytest.mark.anyio
async def test_acts_beyond_an_owners_limit_are_429_and_leave_room_for_others(serve, disk, held_engine: HeldEngine):
    keys = [disk.add("lab", in_flight=2), disk.add("plant")]
    async with (
        serve(engine=held_engine, keys=disk.path) as service,
        holder(service, keys[0]) as lab,
        holder(service, keys[1]) as plant,
    ):
        mine, theirs = [await lab.start() for _ in range(3)], await plant.start()
        under_way = [asyncio.create_task(lab.act(episode, 0)) for episode in mine[:2]]
        await held_engine.holding.wait()
        await asyncio.sleep(0.05)
        refused = await lab.act(mine[2], 0)
        assert refused.status_code == 429
        told = refused.json()
        assert told["type"] == "urn:lamo:problem:owner-limit"
        assert told["detail"] == "owner 'lab' has 2 acts under way, and may have 2"
        assert told["retryable"]
        assert told["retry_after_ms"] > 0
        assert refused.headers["retry-after"] == "1"
        again = asyncio.create_task(lab.act(mine[0], 0))  # the same step shares the act that is under way
        other = asyncio.create_task(plant.act(theirs, 0))
        await asyncio.sleep(0.05)
        held_engine.let_go.set()
        answers = await asyncio.gather(*under_way, again, other)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert (await lab.act(mine[2], 0)).status_code == 200  # once there is room


@pytest.mark.anyio
async def test_items_of_one_request_count_one_by_one(serve, disk, held_engine: HeldEngine):
    key = disk.add("lab", in_flight=2)
    async with serve(engine=held_engine, keys=disk.path) as service, holder(service, key) as lab:
        held_engine.let_go.set()
        episodes = [await lab.start() for _ in range(4)]
        items = [{"episode_id": name, "step": 0, "observation": OBSERVATION} for name in episodes]
        told = (await lab.client.post("/act", json={"items": items})).json()["items"]
        assert [item["status"] for item in told] == [200, 200, 429, 429]


@pytest.mark.anyio
async def test_starts_and_restores_beyond_the_rate_are_429(serve, disk):
    key = disk.add("lab", starts_per_second=0.2)  # so one at once, and the next after five seconds
    free = disk.add("plant")
    async with serve(keys=disk.path) as service, holder(service, key) as lab, holder(service, free) as plant:
        robot = Robot(lab)
        await robot.start()
        await robot.play(0, 2)
        elsewhere = {"policy": f"{robot.state['policy']}@{'0' * 12}"}  # would have to be looked for on disk
        for refused in (
            await lab.client.put("/episodes/next", json={}),
            await lab.client.put("/episodes/next", json=elsewhere),
            await robot.restore(),
        ):
            assert refused.status_code == 429
            assert refused.json()["detail"] == "owner 'lab' starts more than 0.2 episodes per second, its limit"
            assert 4000 < refused.json()["retry_after_ms"] <= 5000
        for _ in range(3):
            await plant.start()


def test_the_rate_is_an_average_over_a_few_seconds(monkeypatch):
    now = 100.0
    monkeypatch.setattr(start_rates.time, "monotonic", lambda: now)
    waits = []
    rates, caller = StartRates(), Caller("lab", limits=Limits(starts_per_second=2.0))

    def started() -> int:
        for count in range(100):
            try:
                rates.count(caller)
            except OwnerLimit as refused:
                waits.append(refused.retry_after_ms)
                return count
        raise AssertionError("no limit")

    assert [started(), started()] == [10, 0]
    now += 1.5
    assert started() == 3
    now += 3600
    assert started() == 10
    assert waits == [500] * 4
    rates.count(Caller("plant"))


def act(owner: str, episode: str, received_at: float) -> Act:
    return Act(EpisodeName(owner, episode), Caller(owner), None, received_at, float("inf"))  # type: ignore[arg-type]


def queued(**acts: int) -> OwnerQueues:
    queues = OwnerQueues()
    for at, owner in enumerate(acts):
        for number in range(acts[owner]):
            queues.add(act(owner, str(number), 100.0 * at + number))
    return queues


def test_owners_take_turns_in_a_batch_and_the_rest_is_filled():
    queues = queued(flood=50, plant=1, lab=3)
    taken = queues.take({}, 8)
    assert [one.name.owner for one in taken] == ["flood", "plant", "lab", "flood", "lab", "flood", "lab", "flood"]
    assert [one.name.id for one in taken if one.name.owner == "flood"] == ["0", "1", "2", "3"]
    assert len(queues) == 54 - 8
    assert [one.name.owner for one in queues.take({}, 3)] == ["flood"] * 3


def test_with_more_owners_than_room_whoever_waits_longest_goes_first():
    queues = OwnerQueues()
    for at, owner in ((3, "a"), (1, "b"), (4, "c"), (2, "d")):
        queues.add(act(owner, "e", at))
    assert [one.name.owner for one in queues.take({}, 2)] == ["b", "d"]
    assert queues.oldest == 3


def test_what_goes_before_an_act_counts_others_by_their_turns():
    queues = queued(flood=50, lab=3)
    assert [queues.before(owner) for owner in ("flood", "lab", "plant")] == [53, 7, 2]


@pytest.mark.anyio
async def test_a_full_queue_refuses_those_who_filled_it(serve, disk, held_engine: HeldEngine):
    """Of 20 acts of the flood 8 are in the pass that is held, 8 are ready for the next one, and 4 wait."""
    flood, key = disk.add("flood"), disk.add("plant")
    async with (
        serve(engine=held_engine, keys=disk.path, queue_limit=12) as service,
        holder(service, flood) as many,
        holder(service, key) as plant,
    ):
        episodes, own = [await many.start() for _ in range(24)], await plant.start()
        flooding = [asyncio.create_task(many.act(episode, 0)) for episode in episodes[:12]]
        await held_engine.holding.wait()
        flooding += [asyncio.create_task(many.act(episode, 0)) for episode in episodes[12:]]
        await asyncio.sleep(0.2)
        assert [task.result().status_code for task in flooding if task.done()] == [429] * 4
        acting = asyncio.create_task(plant.act(own, 0))
        await asyncio.sleep(0.2)
        assert not acting.done()
        refused = [task.result() for task in flooding if task.done()]
        assert [answer.json()["type"] for answer in refused] == ["urn:lamo:problem:queue-full"] * 5
        held_engine.let_go.set()
        assert (await acting).status_code == 200
        assert [answer.status_code for answer in await asyncio.gather(*flooding)].count(200) == 19


@pytest.mark.anyio
async def test_who_would_wait_too_long_is_judged_by_its_own_turn():
    metrics, pace = Metrics(), Pace(batch_limit=4)
    for _ in range(3):
        pace.took(4, 0.1)
    waiting = Waiting(WindowCache(1, metrics), metrics, pace, limit=1000, longest_seconds=0.15)
    for number in range(40):
        waiting.submit(act("flood", str(number), float(number)))
    assert waiting.crowded("flood") is not None
    assert waiting.crowded("plant") is None
    for number in range(12):
        waiting.submit(act("plant", str(number), float(number)))
    assert waiting.crowded("plant").detail.startswith("25 requests wait already, for about ")
