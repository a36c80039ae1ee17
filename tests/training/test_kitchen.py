"""The Kitchen environment against what D4RL 1.1 does in the same kitchen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from clients.simulator import make_environment as make_for_client
from training.environments import make_environment
from training.kitchen import TASKS, Kitchen

JOINTS = [
    *(f"robot:panda0_joint{number}" for number in range(1, 8)),
    *(f"robot:panda0_finger_joint{number}" for number in (1, 2)),
    *("knob_Joint_1", "bottom_right_burner", "knob_Joint_2", "bottom_left_burner"),
    *("knob_Joint_3", "top_right_burner", "knob_Joint_4", "top_left_burner"),
    *("light_switch", "light_joint", "slide_cabinet", "left_hinge_cabinet", "right_hinge_cabinet"),
    *("microwave", "kettle"),
]
"""In the order of D4RL's model, whose own names for the objects differ; the kettle's takes seven numbers."""

BEGINNING = [
    *(1.48388023e-01, -1.76848573e00, 1.84390296e00, -2.47685760e00, 2.60252026e-01, 7.12533105e-01),
    *(1.59515394e00, 4.79267505e-02, 3.71350919e-02, -2.66279850e-04, -5.18043486e-05, 3.12877220e-05),
    *(-4.51199853e-05, -3.90842156e-06, -4.22629655e-05, 6.28065475e-05, 4.04984708e-05, 4.62730939e-04),
    *(-2.26906415e-04, -4.65501369e-04, -6.44129196e-03, -1.77048263e-03, 1.08009684e-03, -2.69397440e-01),
    *(3.50383255e-01, 1.61944683e00, 1.00618764e00, 4.06395120e-03, -6.62095997e-03, -2.68278933e-04),
]
"""The pose D4RL resets to."""

GOALS = {17: -0.69, 18: -0.05, 19: 0.37, 22: -0.75, 23: -0.23, 24: 0.75, 25: 1.62, 26: 0.99, 29: -0.06}
"""What D4RL's goal holds for microwave, kettle, light switch and slide cabinet; zero elsewhere."""

NOISE = [0.01] * 9 + [5e-4] * 2 + [5e-5] * 6 + [5e-4] * 3 + [0.01] * 3 + [5e-4] * 3 + [0.01] * 3 + [5e-4]


@pytest.fixture
def environment() -> Iterator[gymnasium.Env[Any, Any]]:
    made = make_environment("training.kitchen:KitchenComplete-v0")
    yield made
    made.close()


@pytest.fixture
def kitchen(environment: gymnasium.Env[Any, Any]) -> Kitchen:
    bare = environment.unwrapped
    assert isinstance(bare, Kitchen)
    return bare


def put(kitchen: Kitchen, positions: dict[int, float]) -> None:
    """Put objects where they are wanted, at rest."""
    data = kitchen.simulator.data
    for index, position in positions.items():
        data.qpos[index] = position
    data.qvel[:] = 0.0


def test_gymnasiums_checker_has_nothing_to_say(kitchen: Kitchen) -> None:
    check_env(kitchen, skip_render_check=True)


def test_the_positions_are_those_of_d4rls_joints_in_their_order(kitchen: Kitchen) -> None:
    model = kitchen.simulator.model
    joints = [model.joint(number) for number in range(model.njnt)]
    assert [joint.name for joint in joints] == JOINTS
    assert model.jnt_qposadr.tolist() == list(range(24))
    assert joints[-1].type == mujoco.mjtJoint.mjJNT_FREE
    assert model.nq == 30


def test_an_episode_begins_in_d4rls_pose_with_d4rls_noise(kitchen: Kitchen) -> None:
    observations = np.array([kitchen.reset(seed=seed)[0] for seed in range(300)])
    assert kitchen.simulator.data.qpos == pytest.approx(BEGINNING, abs=0)
    deviations = np.abs(observations[:, :30].astype(np.float64) - BEGINNING)
    rounding = 2e-7  # of a float32 near 2
    assert (deviations <= np.array(NOISE) + rounding).all()
    assert (deviations.max(axis=0) > 0.95 * np.array(NOISE) - rounding).all()


def test_the_same_seed_gives_the_same_noise(kitchen: Kitchen) -> None:
    first, second, other = (kitchen.reset(seed=seed)[0] for seed in (3, 3, 4))
    assert first.tobytes() == second.tobytes()
    assert (first[:30] != other[:30]).all()


def test_the_second_half_is_the_goal_and_never_changes(environment: gymnasium.Env[Any, Any]) -> None:
    goal = np.zeros(30, np.float32)
    goal[list(GOALS)] = list(GOALS.values())
    environment.action_space.seed(2)
    observation, _ = environment.reset(seed=1)
    assert observation.dtype == np.float32
    assert (observation[30:] == goal).all()
    observation, *_ = environment.step(environment.action_space.sample())
    assert (observation[30:] == goal).all()


def test_complete_and_partial_have_the_same_tasks_and_mixed_turns_the_burner() -> None:
    mixed = make_environment("training.kitchen:KitchenMixed-v0")
    observation, _ = mixed.reset(seed=0)
    mixed.close()
    assert observation[30 + 11 : 30 + 13].tolist() == pytest.approx([-0.88, -0.01])
    assert observation[30 + 19] == 0.0
    assert TASKS["KitchenComplete-v0"] == TASKS["KitchenPartial-v0"]


def test_an_action_is_a_velocity_from_the_observed_position_for_40_physics_steps_of_2_ms(kitchen: Kitchen) -> None:
    observation, _ = kitchen.reset(seed=0)
    data = kitchen.simulator.data
    action = np.array([0.5, -1.0, -0.25, 0, 0, 0, 7.0, -1.0, 1.0], np.float32)
    kitchen.step(action)
    assert data.time == pytest.approx(0.08)
    moved = data.ctrl[[0, 2, 6]] - observation[[0, 2, 6]]
    assert moved == pytest.approx([0.5 * 2 * 0.08, -0.25 * 2 * 0.08, 1.0 * 2 * 0.08], abs=1e-6)
    assert data.ctrl[[1, 7, 8]].tolist() == [-1.8, 0.0, 0.04]  # positions have bounds, too


def test_each_task_pays_once_and_nothing_when_undone_and_done_again(kitchen: Kitchen) -> None:
    kitchen.reset(seed=0)
    still = np.zeros(9, np.float32)
    assert kitchen.step(still)[1] == 0.0
    put(kitchen, {22: -0.75})
    _, reward, terminated, _, info = kitchen.step(still)
    assert (reward, terminated, info) == (1.0, False, {"completed": ["microwave"]})
    assert kitchen.step(still)[1] == 0.0
    put(kitchen, {22: 0.0, 17: -0.69, 18: -0.05, 19: 0.37})
    assert kitchen.step(still)[1] == 2.0
    put(kitchen, {22: -0.75})
    assert kitchen.step(still)[1] == 0.0
    put(kitchen, {index: GOALS[index] for index in range(23, 27)})
    _, reward, terminated, _, info = kitchen.step(still)
    assert (reward, terminated) == (1.0, False)
    assert info["completed"] == ["kettle", "light switch", "microwave", "slide cabinet"]
    assert kitchen.reset(seed=0)[1] == {"completed": []}
    put(kitchen, {22: -0.75})
    assert kitchen.step(still)[1] == 1.0


def test_an_episode_goes_on_to_the_horizon_with_all_tasks_done(environment: gymnasium.Env[Any, Any]) -> None:
    environment.reset(seed=0)
    bare = environment.unwrapped
    assert isinstance(bare, Kitchen)
    put(bare, {22: -0.75, 17: -0.69, 18: -0.05, 19: 0.37, 23: -0.23, 24: 0.75})
    rewards, ends = [], []
    for _ in range(280):
        _, reward, terminated, truncated, _ = environment.step(np.zeros(9, np.float32))
        rewards.append(reward)
        ends.append((terminated, truncated))
    assert sum(rewards) == 4.0
    assert ends == [(False, False)] * 279 + [(False, True)]


@pytest.mark.parametrize("make", [make_environment, make_for_client])
def test_training_and_clients_make_it_by_its_name(make: Any) -> None:
    made = make("training.kitchen:KitchenPartial-v0")
    try:
        assert made.observation_space.shape == (60,)
        assert (made.action_space.shape, made.action_space.dtype) == ((9,), np.float32)
    finally:
        made.close()
