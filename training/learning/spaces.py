"""What a policy's observations and actions are: from its task's environment, or, for a robot, from its data."""

from __future__ import annotations

import gymnasium
import numpy as np

from lamo.config import ActionSpace, MlpConfig, ObservationSpace, PolicyConfig, TrunkConfig
from lamo.errors import ConfigError, DatasetError, SimulatorError
from training.data.trajectories import Trajectories
from training.environments import make_environment
from training.learning.config import TrainConfig
from training.tasks.task import Task


def policy_config(config: TrainConfig, trajectories: Trajectories, trunk: TrunkConfig | None) -> PolicyConfig:
    """The config of the policy that a run trains, checked against its data.

    Args:
        trunk: the transformer's shape; None for behavior cloning, which has none.

    Raises:
        SimulatorError: the environment's spaces are not vectors of numbers with bounds on the actions.
        ConfigError: there is no environment, and the task does not say what it would.
        DatasetError: data and task do not fit.
    """
    task = config.task
    observation, action = (
        _recorded_spaces(task, trajectories) if task.environment is None else _environments_spaces(task)
    )
    policy = PolicyConfig(
        task=task.name,
        observation=observation,
        action=action,
        trunk=trunk,
        mlp=MlpConfig(config.hidden) if trunk is None else None,
        context_length=task.context_length,
        return_scale=task.return_scale,
        target_returns=task.target_returns,
        timestep_table_size=task.timestep_rows,
        max_timesteps=task.max_episode_length,
        hop=config.hops[0],
        embedding=task.embeddings,
        environment=task.environment,
        step_seconds=task.step_seconds,
        reference_returns=task.reference_returns,
        delayed_reward=config.delayed_reward,
    )
    check_data(trajectories, policy)
    return policy


def _environments_spaces(task: Task) -> tuple[ObservationSpace, ActionSpace]:
    environment = make_environment(str(task.environment))
    observation, action = environment.observation_space, environment.action_space
    environment.close()
    if not (isinstance(observation, gymnasium.spaces.Box) and isinstance(action, gymnasium.spaces.Box)):
        raise SimulatorError(f"environment {task.environment!r} has spaces that are not boxes of numbers")
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        raise SimulatorError(f"environment {task.environment!r} has actions without bounds")
    return _spaces(task, observation.shape, action.shape, tuple(action.low.tolist()), tuple(action.high.tolist()))


def _recorded_spaces(task: Task, trajectories: Trajectories) -> tuple[ObservationSpace, ActionSpace]:
    if task.action_low is None or task.action_high is None:
        raise ConfigError(
            f"task {task.name!r} has no environment, so it must give the action's bounds: action_low, action_high"
        )
    actions = (trajectories.action_dim,)
    return _spaces(task, trajectories.observation_shape, actions, task.action_low, task.action_high)


def _spaces(
    task: Task,
    observation: tuple[int, ...],
    action: tuple[int, ...],
    low: tuple[float, ...],
    high: tuple[float, ...],
) -> tuple[ObservationSpace, ActionSpace]:
    return (
        ObservationSpace(observation, names=task.names.observations, units=task.units.observations),
        ActionSpace(action, low=low, high=high, names=task.names.actions, units=task.units.actions),
    )


def check_data(trajectories: Trajectories, config: PolicyConfig) -> None:
    """Refuse data that was not recorded in the policy's task.

    Raises:
        DatasetError: other shapes, an episode longer than the task's, or a Minari set of another environment:
            its scores would be normalized by returns that are not its own.
    """
    source = trajectories.source or trajectories.name
    recorded_in = trajectories.attributes.get("environment")
    other = None not in (recorded_in, config.environment) and recorded_in != config.environment
    if source.startswith("minari:") and other:
        raise DatasetError(
            f"{source} was recorded in {recorded_in}, task {config.task!r} plays {config.environment}: "
            f"`lamo-train data inspect {source} --write-task FILE` proposes a task of its own"
        )
    if trajectories.observation_shape != config.observation.shape:
        raise DatasetError(
            f"{source} has observations of shape {list(trajectories.observation_shape)}, "
            f"task {config.task!r} has {list(config.observation.shape)}"
        )
    if (trajectories.action_dim,) != config.action.shape:
        raise DatasetError(
            f"{source} has actions of shape [{trajectories.action_dim}], "
            f"task {config.task!r} has {list(config.action.shape)}"
        )
    longest = int(trajectories.lengths.max())
    if longest > config.max_timesteps:
        raise DatasetError(
            f"{source} has an episode of {longest} steps, task {config.task!r} ends after {config.max_timesteps}"
        )
