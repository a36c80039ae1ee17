"""A lost episode is given its last timesteps back by its client, and goes on with the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.service.conftest import content, in_process

pytestmark = pytest.mark.anyio

K, STEPS = 6, 16


class Robot:
    """A client that remembers what was said of every timestep."""

    def __init__(self, service, target_return: float = 20.0) -> None:
        self.service = service
        self.target_return = target_return
        self.timesteps: list[dict] = []

    async def start(self) -> None:
        self.episode = await self.service.start(target_return=self.target_return)
        self.state = (await self.service.client.get(f"/episodes/{self.episode}")).json()

    async def play(self, first: int, last: int) -> None:
        for step in range(first, last):
            answer = await self.service.act(self.episode, step, **content(step))
            assert answer.status_code == 200, answer.text
            told = {name: answer.json()[name] for name in ("action", "return_to_go")}
            self.timesteps.append({"step": step} | content(step) | told)

    def window(self, length: int = K, last: int | None = None) -> dict:
        kept = self.timesteps if last is None else self.timesteps[: last + 1]
        return {
            "policy": self.state["policy"],
            "revision": self.state["revision"],
            "target_return": self.target_return,
            "episode_return": sum(timestep.get("reward", 0.0) for timestep in kept),
            "timesteps": kept[-length:],
        }

    async def restore(self, **changes):
        return await self.service.client.put(f"/episodes/{self.episode}/window", json=self.window() | changes)

    async def lose(self) -> None:
        await self.service.client.delete(f"/episodes/{self.episode}")

    @property
    def actions(self) -> list[list[float]]:
        return [timestep["action"] for timestep in self.timesteps if "action" in timestep]


@pytest.mark.parametrize("lost_after", [1, 4, 6, 9, 12])
async def test_a_restored_episode_goes_on_with_the_same_bits(serve, policy, lost_after):
    async with serve(reproducible=True) as service:
        undisturbed, robot = Robot(service), Robot(service)
        for one in (undisturbed, robot):
            await one.start()
        await undisturbed.play(0, STEPS)
        await robot.play(0, lost_after)
        await robot.lose()
        missing = await service.act(robot.episode, lost_after, **content(lost_after))
        assert missing.status_code == 404
        restored = await robot.restore()
        assert restored.status_code == 200, restored.text
        assert restored.json()["committed_step"] == lost_after - 1
        replayed = await service.act(robot.episode, lost_after - 1, **content(lost_after - 1))
        assert replayed.json()["replayed"]
        assert replayed.json()["action"] == robot.actions[-1]
        await robot.play(lost_after, STEPS)
        assert robot.actions == undisturbed.actions
        left, right = [(await service.end(one.episode, reward=1.0)).json() for one in (undisturbed, robot)]
        assert left["episode_return"] == pytest.approx(right["episode_return"])
    np.testing.assert_allclose(robot.actions, in_process(policy, STEPS), rtol=1e-4, atol=1e-5)


async def test_a_store_that_fell_behind_is_brought_up_to_date_and_repeating_it_is_harmless(serve):
    async with serve() as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, 5)
        behind = robot.window(last=2)
        await robot.lose()
        assert (await robot.restore(**behind)).json()["committed_step"] == 2
        conflict = await service.act(robot.episode, 5, **content(5))
        assert (conflict.status_code, conflict.json()["committed_step"]) == (409, 2)
        for _ in range(2):
            assert (await robot.restore()).json()["expected_step"] == 5
        await robot.play(5, 8)


async def test_an_episode_that_stands_beyond_the_window_or_has_ended_keeps_what_it_has(serve):
    async with serve() as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, 5)
        refused = await robot.restore(**robot.window(last=3))
        assert (refused.status_code, refused.json()["committed_step"]) == (409, 4)
        await service.end(robot.episode)
        assert (await robot.restore()).status_code == 410


async def test_less_than_the_ring_should_hold_is_better_than_nothing(serve):
    """A client that took an episode over in mid-course knows its last timesteps only."""
    async with serve() as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, 9)
        await robot.lose()
        restored = await robot.restore(**robot.window(length=2))
        assert restored.json()["committed_step"] == 8
        assert (await service.act(robot.episode, 8, **content(8))).json()["replayed"]
        older = await service.act(robot.episode, 5, **content(5))
        assert (older.status_code, older.json()["title"]) == (409, "Step out of order")
        await robot.play(9, STEPS)
        service.lifecycle.acting._cache.drop(("local", robot.episode))
        answer = await service.act(robot.episode, STEPS, **content(STEPS))
        assert answer.status_code == 200


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_what_a_store_that_fell_behind_still_has_is_kept_where_a_window_continues_it(serve, policy, lost):
    """A client that took an episode over in mid-course does not know what the store has not lost."""
    async with serve(reproducible=True) as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, 9)
        behind, short = robot.window(last=8 - lost), robot.window(length=2)
        await robot.lose()
        await robot.restore(**behind)
        assert (await robot.restore(**short)).json()["committed_step"] == 8
        await robot.play(9, STEPS)
    same = np.allclose(robot.actions, in_process(policy, STEPS), rtol=1e-4, atol=1e-5)
    assert same == (lost <= 2)  # else a timestep is missing between what the two have


async def test_a_window_with_a_missed_step_is_restored_as_it_was(serve):
    async with serve(reproducible=True) as service:
        actions = []
        for lose in (False, True):
            robot = Robot(service)
            await robot.start()
            await robot.play(0, 7)
            missed = {"step": 7} | content(7)
            seen = content(8) | {"executed_action": [0.5, 0.5]}
            answer = (await service.act(robot.episode, 8, **seen, missed=[missed])).json()
            told = {name: answer[name] for name in ("action", "return_to_go")}
            robot.timesteps += [missed, {"step": 8} | seen | told]
            if lose:
                await robot.lose()
                restored = await robot.restore()
                assert restored.status_code == 200, restored.text
            await robot.play(9, STEPS)
            actions.append(robot.actions)
        assert actions[0] == actions[1]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"timesteps": []}, 422, "timesteps"),
        ({"policy": "nobody"}, 404, "'nobody' is not served here"),
        ({"policy": "small", "revision": "ffffffffffff"}, 404, "neither loaded nor on disk"),
        ({"target_return": 1e300}, 422, "out of range"),
        ({"colour": 1}, 422, "'colour' is unknown"),
    ],
)
async def test_a_window_that_cannot_be_is_refused(serve, change, status, words):
    async with serve() as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, 4)
        await robot.lose()
        refused = await robot.restore(**change)
        assert refused.status_code == status, refused.text
        assert words in refused.json()["detail"]
        assert (await service.client.get(f"/episodes/{robot.episode}")).status_code == 404


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda steps: steps.pop(1), "timesteps[1] is step 2, but timesteps[0] is 0"),
        (lambda steps: steps[-1].pop("action"), "timesteps[3].action is missing"),
        (lambda steps: steps[1].pop("action"), "timesteps[2].executed_action is missing"),
        (lambda steps: steps[1].update(action=[1.0]), "action has shape [1], policy 'small' takes [2]"),
        (lambda steps: steps[2].update(observation=[1.0]), "observation has shape [1]"),
        (lambda steps: steps[0].update(reward=1.0), "reward was sent with step 0"),
    ],
)
async def test_timesteps_that_do_not_fit_together_are_refused_by_place(serve, spoil, words):
    async with serve() as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, 4)
        await robot.lose()
        spoil(robot.timesteps)
        refused = await robot.restore()
        assert refused.status_code == 422, refused.text
        assert words in refused.json()["detail"]


async def test_more_timesteps_than_the_policy_sees_are_refused(serve):
    async with serve() as service:
        robot = Robot(service)
        await robot.start()
        await robot.play(0, K + 1)
        await robot.lose()
        refused = await robot.restore(**robot.window(length=K + 1))
        assert refused.status_code == 422
        assert "7 timesteps were given, policy 'small' sees at most 6" in refused.json()["detail"]
