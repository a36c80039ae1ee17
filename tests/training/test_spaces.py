"""Spaces, names and units of the tasks, against their environments."""

from __future__ import annotations

import warnings

import pytest
from gymnasium import spaces

from lamo.config import TrunkConfig
from lamo.errors import SimulatorError
from training.environments import make_environment
from training.reacher2d import STEP_SECONDS
from training.spaces import DESCRIPTIONS, policy_config
from training.tasks import TASKS

TRUNK = TrunkConfig(n_layer=1, n_head=1, n_embd=8, n_inner=8)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_described_as_its_environment_is(name: str) -> None:
    task = TASKS[name]
    environment = make_environment(task.environment)
    config = policy_config(task, environment, TRUNK, target_returns=(1.0,), hop=2)
    assert config.observation.shape == environment.observation_space.shape
    assert config.action.low == tuple(environment.action_space.low)
    assert config.observation.names is not None
    assert len(set(config.observation.names)) == config.observation.size
    assert config.step_seconds == pytest.approx(getattr(environment.unwrapped, "dt", STEP_SECONDS))
    assert environment.spec is not None
    assert config.max_timesteps == environment.spec.max_episode_steps
    assert (config.context_length, config.return_scale) == (task.context_length, task.return_scale)
    environment.close()


def test_every_task_has_a_description() -> None:
    assert DESCRIPTIONS.keys() == TASKS.keys()


def test_joint_velocities_are_where_the_names_say() -> None:
    environment = make_environment("HalfCheetah-v4")
    environment.reset(seed=0)
    observation, *_ = environment.step(environment.action_space.sample())
    simulator = environment.unwrapped.data  # type: ignore[attr-defined]
    names = [name for name, _ in DESCRIPTIONS["halfcheetah"].observations]
    assert observation[names.index("torso_z")] == simulator.qpos[1]
    assert observation[names.index("torso_x_velocity")] == simulator.qvel[0]
    assert observation[names.index("front_foot_velocity")] == simulator.joint("ffoot").qvel[0]
    environment.close()


def test_actions_without_bounds_are_refused() -> None:
    task = TASKS["hopper"]
    environment = make_environment(task.environment)
    environment.action_space = spaces.Box(-float("inf"), 1.0, (3,))
    with pytest.raises(SimulatorError, match="'Hopper-v4' has actions without bounds"):
        policy_config(task, environment, TRUNK, target_returns=(1.0,), hop=1)
    environment.action_space = spaces.Discrete(3)
    with pytest.raises(SimulatorError, match="spaces that are not boxes"):
        policy_config(task, environment, TRUNK, target_returns=(1.0,), hop=1)
    environment.close()


def test_only_the_remark_about_newer_versions_is_kept_quiet() -> None:
    make_environment("Hopper-v4").close()
    with pytest.warns(UserWarning, match="latest versioned environment"):
        make_environment("Hopper").close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_environment("Hopper-v4").close()
