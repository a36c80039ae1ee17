"""Timesteps that passed without an answer: recorded once, with the step after them, and seen by the policy."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from tests.service.conftest import OBSERVATION, content

pytestmark = pytest.mark.anyio

FALLBACK = [0.25, -0.25]


def passed(first: int, last: int) -> list[dict]:
    """What a robot tells of timesteps first..last, in which it did what it does without an answer."""
    steps = [{"step": step} | content(step) for step in range(first, last + 1)]
    for step in steps[1:]:
        step["executed_action"] = FALLBACK
    return steps


def after(step: int) -> dict:
    """A step after a missed one."""
    return content(step) | {"executed_action": FALLBACK}


async def state(service, episode: str) -> dict:
    return (await service.client.get(f"/episodes/{episode}")).json()


async def test_missed_steps_are_committed_with_the_step_after_them_and_the_policy_sees_them(serve, policy):
    async with serve(reproducible=True) as service:
        episode = await service.start(target_return=20)
        await service.play(episode, 4)
        answer = await service.act(episode, 9, **after(9), missed=passed(4, 8))
        assert answer.status_code == 200, answer.text
        assert (answer.json()["committed_step"], answer.json()["replayed"]) == (9, False)
        stands = await state(service, episode)
        earned = [content(step).get("reward", 0.0) for step in range(10)]
        assert stands["committed_step"] == 9
        assert stands["episode_return"] == pytest.approx(sum(earned))
        text = (await service.client.get("/metrics")).text
        assert "lamo_missed_total 5.0" in text
        assert "lamo_steps_total 5.0" in text

        window = service.lifecycle.acting._cache.get(("local", episode)).window
        want = np.array([content(step)["observation"] for step in range(window.start, 10)], np.float32)
        np.testing.assert_array_equal(window.observations, want)
        np.testing.assert_array_equal(window.actions[:-1], np.tile(np.float32(FALLBACK), (len(want) - 1, 1)))
        # Another replica, which knows the record alone, goes on with the same bits.
        service.lifecycle.acting._cache.drop(("local", episode))
        from_record = (await service.act(episode, 10, **content(10))).json()
        held = (await service.act(episode, 10, **content(10))).json()
        assert held["replayed"]
        assert held["action"] == from_record["action"]


async def test_a_window_with_missed_steps_is_the_same_from_the_cache_and_from_the_record(serve):
    actions = []
    async with serve(reproducible=True) as service:
        for forget in (False, True):
            episode = await service.start(target_return=20)
            await service.play(episode, 3)
            await service.act(episode, 5, **after(5), missed=passed(3, 4))
            if forget:
                service.lifecycle.acting._cache.drop(("local", episode))
            actions.append(
                [(await service.act(episode, step, **content(step))).json()["action"] for step in (6, 7)]
            )
    assert actions[0] == actions[1]


async def test_whatever_was_recorded_meanwhile_is_told_of_again_and_counts_once(serve):
    """A robot that heard nothing of step 4 tells of it as missed although it was committed."""
    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 5)
        late = await service.act(episode, 6, **after(6), missed=passed(4, 5))
        assert (late.status_code, late.json()["replayed"]) == (200, False)
        again = await service.act(episode, 6, **after(6), missed=passed(4, 5))
        assert again.json()["replayed"]
        assert again.json()["action"] == late.json()["action"]
        assert (await state(service, episode))["committed_step"] == 6
        assert "lamo_missed_total 1.0" in (await service.client.get("/metrics")).text


async def test_more_steps_than_the_ring_holds_may_be_missed_and_the_request_repeated(serve):
    async with serve(max_body_bytes=100_000) as service:
        episode = await service.start()
        await service.play(episode, 2)
        missed = passed(2, 19)
        for replayed in (False, True):
            answer = await service.act(episode, 20, **after(20), missed=missed)
            assert (answer.status_code, answer.json()["replayed"]) == (200, replayed)
        assert (await service.act(episode, 21, **content(21))).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"missed": passed(3, 4)}, 422, "executed_action is missing: nothing was proposed at the missed step 4"),
        ({"missed": passed(3, 3), **after(5)}, 422, "missed ends with step 3, not with the step before step 5"),
        (
            {"missed": [passed(3, 3)[0], passed(5, 5)[0]], **after(5)},
            422,
            "missed[1] is step 5, but missed[0] is 3",
        ),
        (
            {"missed": [passed(3, 3)[0], {"step": 4, "observation": OBSERVATION}], **after(5)},
            422,
            "missed[1].executed_action is missing",
        ),
        ({"missed": [passed(4, 4)[0]], **after(5)}, 409, "step 4 of episode"),
        (
            {"missed": [passed(3, 3)[0], passed(3, 4)[1] | {"observation": [1]}], **after(5)},
            422,
            "missed[1].observation has shape [1]",
        ),
        (
            {"missed": [passed(2, 2)[0] | {"reward": 77}, *passed(2, 4)[1:]], **after(5)},
            422,
            "step 2 of episode",
        ),
        ({"missed": [{"step": 4, "observation": OBSERVATION, "action": [0, 0]}], **after(5)}, 422, "is unknown"),
    ],
)
async def test_missed_steps_that_cannot_be_are_refused_and_nothing_is_committed(serve, fields, status, words):
    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 3)
        answer = await service.act(episode, 5, **fields)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
        assert (await state(service, episode))["committed_step"] == 2


async def test_at_most_256_steps_are_missed_in_one_request(serve):
    async with serve() as service:
        episode = await service.start()
        missed = [{"step": step, "observation": OBSERVATION, "executed_action": FALLBACK} for step in range(257)]
        answer = await service.act(episode, 257, observation=OBSERVATION, executed_action=FALLBACK, missed=missed)
        assert answer.status_code == 422
        assert "256" in answer.json()["detail"]


async def test_a_robot_that_does_not_wait_is_answered_after_the_step_that_is_being_computed(serve, held_engine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        slow = asyncio.create_task(service.act(episode, 0, **content(0)))
        await held_engine.holding.wait()
        refused = await service.act(episode, 1, **content(1))
        assert refused.json()["type"].endswith("step-in-flight")
        later = asyncio.create_task(service.act(episode, 2, **after(2), missed=passed(0, 1)))
        await asyncio.sleep(0.05)
        held_engine.let_go.set()
        assert (await slow).json()["committed_step"] == 0
        assert (await later).json()["committed_step"] == 2


async def test_an_end_tells_of_missed_steps_too_and_repeats_harmlessly(serve):
    async with serve() as service:
        episode = await service.start(target_return=20)
        await service.play(episode, 3)
        ending = {"step": 6, "reward": 1.5, "missed": passed(3, 5), "terminated": True}
        summaries = [(await service.end(episode, **ending)).json() for _ in range(2)]
        assert summaries[0] == summaries[1]
        assert summaries[0]["length"] == 6
        assert summaries[0]["episode_return"] == pytest.approx(
            1.5 + sum(content(step).get("reward", 0.0) for step in range(6))
        )
        assert (await state(service, episode))["committed_step"] == 5
        other = await service.end(
            episode, **ending | {"missed": [passed(3, 3)[0] | {"reward": 9}, *passed(3, 5)[1:]]}
        )
        assert other.status_code == 422
        assert "lamo_missed_total 3.0" in (await service.client.get("/metrics")).text


@pytest.mark.parametrize("missed", [[], passed(6, 6)])
async def test_an_end_that_leaves_a_gap_is_refused_though_another_replica_fills_it_meanwhile(serve, missed):
    async with serve() as here, serve() as there:
        episode = await here.start(target_return=20)
        await here.play(episode, 4)
        recall = here.lifecycle.acting._recall
        read = recall.read

        async def outrun(names):
            found = await read(names)
            for step in (4, 5):
                assert (await there.act(episode, step, **content(step))).status_code == 200
            return found

        recall.read = outrun
        ending = {"step": 6 + len(missed), "missed": missed, "executed_action": FALLBACK}
        refused = await here.end(episode, **ending)
        assert (refused.status_code, refused.json()["committed_step"]) == (409, 3)
        recall.read = read
        summary = (await here.end(episode, **ending)).json()
        earned = [content(step).get("reward", 0.0) for step in range(summary["length"])]
        assert summary["episode_return"] == pytest.approx(sum(earned))
