"""Spaces, names and units of the tasks, against their environments and their data."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from lamo.config import TrunkConfig
from lamo.errors import ConfigError, DatasetError, SimulatorError
from training.data.trajectories import Trajectories, Trajectory
from training.environments import make_environment
from training.learning import spaces as spaces_of_policies
from training.learning.config import TrainConfig
from training.learning.spaces import policy_config
from training.reacher2d import STEP_SECONDS
from training.tasks.task import read_task, task_names

TRUNK = TrunkConfig(n_layer=1, n_head=1, n_embd=8, n_inner=8)


def recorded(observation_dim: int, action_dim: int, steps: int = 3) -> Trajectories:
    """One episode of zeros."""
    arrays = (np.zeros((steps, observation_dim), np.float32), np.zeros((steps, action_dim), np.float32))
    return Trajectories((Trajectory(*arrays, rewards=np.zeros(steps), terminated=False),), name="zeros")


@pytest.mark.parametrize("name", task_names())
def test_every_task_is_described_as_its_environment_is(name: str) -> None:
    task = read_task(name).task
    environment = make_environment(str(task.environment))
    shapes = environment.observation_space.shape, environment.action_space.shape
    config = policy_config(TrainConfig.of(name, hops=(2,)), recorded(shapes[0][0], shapes[1][0]), TRUNK)
    assert (config.observation.shape, config.action.shape) == shapes
    assert config.action.low == tuple(environment.action_space.low)
    names = config.observation.names
    assert names is None or len(set(names)) == config.observation.size
    simulator = getattr(environment.unwrapped, "simulator", environment.unwrapped)
    assert config.step_seconds == pytest.approx(
        getattr(getattr(simulator, "robot_env", simulator), "dt", STEP_SECONDS)
    )
    assert environment.spec is not None
    assert config.max_timesteps == environment.spec.max_episode_steps
    assert (config.context_length, config.return_scale) == (task.context_length, task.return_scale)
    assert config.reference_returns == task.reference_returns
    environment.close()


def test_joint_velocities_are_where_the_names_say() -> None:
    environment = make_environment("HalfCheetah-v4")
    environment.reset(seed=0)
    observation, *_ = environment.step(environment.action_space.sample())
    simulator = environment.unwrapped.data  # type: ignore[attr-defined]
    names = read_task("halfcheetah-medium").task.names.observations
    assert names is not None
    assert observation[names.index("torso_z")] == simulator.qpos[1]
    assert observation[names.index("torso_x_velocity")] == simulator.qvel[0]
    assert observation[names.index("front_foot_velocity")] == simulator.joint("ffoot").qvel[0]
    environment.close()


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (spaces.Box(-float("inf"), 1.0, (3,)), "'Hopper-v4' has actions without bounds"),
        (spaces.Discrete(3), "spaces that are not boxes"),
    ],
)
def test_an_environment_without_bounded_vectors_is_refused(
    monkeypatch: pytest.MonkeyPatch, space: spaces.Space[Any], sentence: str
) -> None:
    def changed(name: str) -> Any:
        environment = make_environment(name)
        environment.action_space = space
        return environment

    monkeypatch.setattr(spaces_of_policies, "make_environment", changed)
    with pytest.raises(SimulatorError, match=sentence):
        policy_config(TrainConfig.of("hopper-medium"), recorded(11, 3), TRUNK)


def test_a_robot_without_a_simulator_takes_its_spaces_from_data_and_task() -> None:
    config = TrainConfig.of("hopper-medium", environment=None, action_low=(-1.0, -1.0), action_high=(2.0, 2.0))
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, names=type(config.task.names)()))
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, units=type(config.task.units)()))
    policy = policy_config(config, recorded(5, 2), TRUNK)
    assert (policy.observation.shape, policy.action.high, policy.environment) == ((5,), (2.0, 2.0), None)
    with pytest.raises(ConfigError, match="has no environment, so it must give the action's bounds"):
        policy_config(TrainConfig.of("hopper-medium", environment=None), recorded(11, 3), TRUNK)


def test_a_run_on_delayed_rewards_exports_a_policy_that_keeps_its_return_to_go() -> None:
    soon, late = (
        policy_config(TrainConfig.of("hopper-medium", delayed_reward=delayed), recorded(11, 3), TRUNK)
        for delayed in (False, True)
    )
    assert (soon.delayed_reward, late.delayed_reward) == (False, True)


def test_data_of_another_task_is_refused() -> None:
    config = TrainConfig.of("hopper-medium")
    with pytest.raises(DatasetError, match=r"observations of shape \[12\], task 'hopper-medium' has \[11\]"):
        policy_config(config, recorded(12, 3), TRUNK)
    with pytest.raises(DatasetError, match="episode of 1001 steps, task 'hopper-medium' ends after 1000"):
        policy_config(config, recorded(11, 3, steps=1001), TRUNK)


def test_a_minari_set_is_played_in_its_own_environment_only() -> None:
    data = dataclasses.replace(recorded(11, 3), source="minari:mujoco/hopper/medium-v0")
    own = dataclasses.replace(data, attributes={"environment": "Hopper-v4"})
    newer = dataclasses.replace(data, attributes={"environment": "Hopper-v5"})
    for allowed in (data, own):
        policy_config(TrainConfig.of("hopper-medium"), allowed, TRUNK)
    with pytest.raises(DatasetError, match=r"recorded in Hopper-v5, task 'hopper-medium' plays Hopper-v4"):
        policy_config(TrainConfig.of("hopper-medium"), newer, TRUNK)


def test_only_the_remark_about_newer_versions_is_kept_quiet() -> None:
    make_environment("Hopper-v4").close()
    with pytest.warns(UserWarning, match="latest versioned environment"):
        make_environment("Hopper").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_environment("Hopper-v4").close()
