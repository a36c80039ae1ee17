"""The step rules of the HTTP contract, line by line, over HTTP and a real Redis."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest

from tests.service.conftest import OBSERVATION, HeldEngine, content, in_process

pytestmark = pytest.mark.anyio


def problem(answer: httpx.Response) -> dict:
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    return document


async def test_the_expected_step_is_inferred_committed_and_answered(serve):
    async with serve() as service:
        episode = await service.start(target_return=20)
        answer = (await service.act(episode, 0)).json()
        assert answer["step"] == answer["committed_step"] == 0
        assert not answer["replayed"]
        assert answer["return_to_go"] == 20
        answer = (await service.act(episode, 1, reward=1.5)).json()
        assert answer["return_to_go"] == 18.5
        state = (await service.client.get(f"/episodes/{episode}")).json()
        assert (state["committed_step"], state["expected_step"], state["episode_return"]) == (1, 2, 1.5)


async def test_a_recorded_step_with_the_same_content_gets_the_stored_action(serve):
    async with serve() as service:
        episode = await service.start()
        actions = await service.play(episode, 9)
        for step in range(3, 9):  # K = 6
            answer = (await service.act(episode, step, **content(step))).json()
            assert answer["replayed"]
            assert answer["action"] == actions[step]
            assert answer["committed_step"] == 8
            assert answer["timing"]["infer_ms"] == 0
        state = (await service.client.get(f"/episodes/{episode}")).json()
        assert state["committed_step"] == 8


async def test_when_it_was_observed_and_the_deadline_are_no_content(serve):
    async with serve() as service:
        episode = await service.start()
        first = (await service.act(episode, 0, observed_at=1)).json()
        again = (await service.act(episode, 0, observed_at=2, deadline_ms=1000)).json()
        assert again["replayed"]
        assert again["action"] == first["action"]


@pytest.mark.parametrize(
    "changed",
    [{"observation": [*OBSERVATION[:-1], 1e-3]}, {"reward": 0.5}, {"executed_action": [0.0, 0.0]}],
    ids=lambda fields: next(iter(fields)),
)
async def test_a_recorded_step_with_other_content_is_refused(serve, changed):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        await service.act(episode, 1)
        answer = await service.act(episode, 1, **changed)
        assert answer.status_code == 422
        assert problem(answer)["type"] == "urn:lamo:problem:content-changed"


async def test_a_gap_is_a_conflict_that_says_where_the_episode_stands(serve):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        answer = await service.act(episode, 2)
        assert answer.status_code == 409
        document = problem(answer)
        assert (document["committed_step"], document["expected_step"], document["retryable"]) == (0, 1, False)


async def test_a_step_older_than_the_record_is_a_conflict(serve):
    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 8)
        answer = await service.act(episode, 1, **content(1))
        assert answer.status_code == 409
        assert "older than what is recorded" in problem(answer)["detail"]


async def test_a_step_in_flight_with_the_same_content_shares_its_result(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        requests = [asyncio.create_task(service.act(episode, 0)) for _ in range(5)]
        await held_engine.holding.wait()
        late = asyncio.create_task(service.act(episode, 0))
        await asyncio.sleep(0.05)
        held_engine.let_go.set()
        answers = [(await request).json() for request in [*requests, late]]
        assert held_engine.batches == [1]
        assert all(answer == answers[0] for answer in answers)
        assert not answers[0]["replayed"]


async def test_a_step_in_flight_with_other_content_is_a_retryable_conflict(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        first = asyncio.create_task(service.act(episode, 0))
        await held_engine.holding.wait()
        for answer in (
            await service.act(episode, 0, observation=[0.0] * 5),
            await service.act(episode, 1),
            await service.act(episode, None),
        ):
            assert answer.status_code == 409
            assert problem(answer)["type"] == "urn:lamo:problem:step-in-flight"
            assert problem(answer)["retryable"]
            assert answer.headers["retry-after"] == "1"
        held_engine.let_go.set()
        assert (await first).status_code == 200


async def test_ending_waits_for_the_step_in_flight(serve, held_engine: HeldEngine):
    async with serve(engine=held_engine) as service:
        episode = await service.start()
        first = asyncio.create_task(service.act(episode, 0))
        await held_engine.holding.wait()
        answer = await service.end(episode, step=1)
        assert answer.status_code == 409
        assert problem(answer)["retryable"]
        held_engine.let_go.set()
        await first
        assert (await service.end(episode, step=1)).status_code == 200


async def test_a_step_beyond_the_policys_limit_is_refused_with_the_limit(serve):
    async with serve() as service:
        episode = await service.start()
        answer = await service.act(episode, 30)
        assert answer.status_code == 422
        assert "max_timesteps is 30" in problem(answer)["detail"]
        await service.play(episode, 30)
        answer = await service.act(episode, None)
        assert answer.status_code == 422
        assert (await service.end(episode, step=30, reward=1.0)).json()["length"] == 30


async def test_a_step_left_out_means_the_next_one(serve):
    async with serve() as service:
        episode = await service.start()
        for step in range(3):
            answer = (await service.act(episode, None)).json()
            assert answer["step"] == step
            assert not answer["replayed"]


async def test_nothing_happened_before_step_zero(serve):
    async with serve() as service:
        episode = await service.start()
        for step in (0, None):
            for fields in ({"reward": 0.0}, {"executed_action": [0.0, 0.0]}):
                answer = await service.act(episode, step, **fields)
                assert answer.status_code == 422
                assert next(iter(fields)) in problem(answer)["detail"]
        answer = await service.end(episode, step=0, reward=1.0)
        assert answer.status_code == 422


async def test_an_ended_episode_replays_its_record_and_takes_no_new_act(serve):
    async with serve() as service:
        episode = await service.start()
        actions = await service.play(episode, 4)
        assert (await service.end(episode, step=4, reward=1.0, terminated=True)).status_code == 200
        again = (await service.act(episode, 3, **content(3))).json()
        assert again["replayed"]
        assert again["action"] == actions[3]
        answer = await service.act(episode, 4, **content(4))
        assert answer.status_code == 410
        assert problem(answer)["committed_step"] == 3


async def test_ending_again_gives_the_same_summary_and_counts_the_last_reward_once(serve):
    async with serve() as service:
        episode = await service.start(target_return=10)
        await service.act(episode, 0)
        ending = {"step": 1, "reward": 2.5, "terminated": True, "success": True, "observation": OBSERVATION}
        first = await service.end(episode, **ending)
        assert first.status_code == 200
        assert first.json() == {
            "episode_id": episode,
            "length": 1,
            "episode_return": 2.5,
            "target_return": 10.0,
            "terminated": True,
            "truncated": False,
            "success": True,
        }
        assert (await service.end(episode, **ending)).json() == first.json()
        state = (await service.client.get(f"/episodes/{episode}")).json()
        assert (state["episode_return"], state["return_to_go"], state["ended"]) == (2.5, 7.5, True)
        for other in ({"reward": 2.0}, {"terminated": False, "truncated": True}, {"success": None}):
            answer = await service.end(episode, **ending | other)
            assert answer.status_code == 422
            assert problem(answer)["type"] == "urn:lamo:problem:content-changed"


async def test_ending_at_another_step_is_a_conflict(serve):
    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 3)
        for step in (2, 4):
            answer = await service.end(episode, step=step)
            assert answer.status_code == 409
            assert problem(answer)["expected_step"] == 3


async def test_a_start_repeated_is_harmless_and_never_resets(serve):
    async with serve() as service:
        fields = {"policy": "small", "target_return": 20, "labels": {"robot": "7"}, "ttl_seconds": 60}
        episode = await service.start(**fields)
        await service.play(episode, 2)
        again = await service.client.put(f"/episodes/{episode}", json=fields)
        assert again.status_code == 200
        assert again.json()["committed_step"] == 1
        assert again.json()["labels"] == {"robot": "7"}
        other = await service.client.put(f"/episodes/{episode}", json=fields | {"target_return": 21})
        assert other.status_code == 409
        assert problem(other)["type"] == "urn:lamo:problem:episode-exists"


async def test_a_deleted_episodes_id_can_be_used_again(serve):
    async with serve() as service:
        episode = await service.start(target_return=20)
        await service.play(episode, 3)
        for _ in range(2):
            assert (await service.client.delete(f"/episodes/{episode}")).status_code == 204
        assert (await service.act(episode, 3, **content(3))).status_code == 404
        started = await service.client.put(f"/episodes/{episode}", json={"target_return": 5})
        assert started.status_code == 201
        assert (await service.act(episode, 0)).json()["return_to_go"] == 5
        assert (await service.act(episode, 2)).status_code == 409


async def test_the_service_picks_an_id_and_says_where_the_episode_is(serve):
    async with serve() as service:
        first, second = [await service.client.post("/episodes") for _ in range(2)]
        assert first.status_code == 201
        assert first.headers["location"] == f"/episodes/{first.json()['episode_id']}"
        assert first.json()["episode_id"] != second.json()["episode_id"]
        assert first.json()["target_return"] == 30.0
        assert (await service.client.get(first.headers["location"])).json()["expected_step"] == 0


async def test_an_executed_action_replaces_the_proposed_one_in_what_the_policy_sees(serve, policy):
    async with serve() as service:
        actions = await service.play(await service.start(target_return=20), 8)
        np.testing.assert_allclose(actions, in_process(policy, 8), rtol=1e-5, atol=1e-6)
