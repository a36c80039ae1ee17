"""What a task's observations and actions are: spaces from its environment, names and units from here."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import gymnasium
import numpy as np

from lamo.config import ActionSpace, ObservationSpace, PolicyConfig, TrunkConfig
from lamo.errors import DatasetError, SimulatorError
from training.environments import Environment
from training.tasks import Task
from training.trajectories import Trajectories


@dataclass(frozen=True)
class Description:
    """What a task's environment does not say about itself.

    Attributes:
        observations: names with their units, in the environment's order.
        actions: names of what is driven.
        action_unit: None where a gear lies between the number and a torque.
        step_seconds: how long one timestep lasts.
    """

    observations: tuple[tuple[str, str], ...]
    actions: tuple[str, ...]
    action_unit: str | None
    step_seconds: float


def _walker(joints: tuple[str, ...], step_seconds: float) -> Description:
    """Gymnasium's planar walkers: where the torso and the joints are, then how fast they move."""
    turning = ("torso_angle", *joints)
    observations = [("torso_z", "m"), *((name, "rad") for name in turning)]
    observations += [("torso_x_velocity", "m/s"), ("torso_z_velocity", "m/s")]
    observations += [(f"{name}_velocity", "rad/s") for name in turning]
    return Description(tuple(observations), joints, None, step_seconds)


_REACHER2D = Description(
    observations=(
        *((f"{function}_{joint}", "1") for function in ("sin", "cos") for joint in ("shoulder", "elbow")),
        *((f"{joint}_velocity", "rad/step") for joint in ("shoulder", "elbow")),
        *((f"{point}_{axis}", "m") for point in ("fingertip", "target", "fingertip_to_target") for axis in "xy"),
    ),
    actions=("shoulder", "elbow"),
    action_unit="N m",
    step_seconds=0.15,
)

DESCRIPTIONS = MappingProxyType(
    {
        "reacher2d": _REACHER2D,
        "hopper": _walker(("thigh", "leg", "foot"), 0.008),
        "walker2d": _walker(("thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left"), 0.008),
        "halfcheetah": _walker(
            ("back_thigh", "back_shin", "back_foot", "front_thigh", "front_shin", "front_foot"), 0.05
        ),
    }
)


def policy_config(
    task: Task, environment: Environment, trunk: TrunkConfig, *, target_returns: tuple[float, ...], hop: int
) -> PolicyConfig:
    """The config of a policy for `task` on a trunk of this shape.

    Raises:
        SimulatorError: the environment's spaces are not vectors of numbers with bounds on the actions.
    """
    observation, action = environment.observation_space, environment.action_space
    if not (isinstance(observation, gymnasium.spaces.Box) and isinstance(action, gymnasium.spaces.Box)):
        raise SimulatorError(f"environment {task.environment!r} has spaces that are not boxes of numbers")
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        raise SimulatorError(f"environment {task.environment!r} has actions without bounds")
    known = DESCRIPTIONS[task.name]
    units = None if known.action_unit is None else (known.action_unit,) * len(known.actions)
    return PolicyConfig(
        task=task.name,
        observation=ObservationSpace(
            observation.shape,
            names=tuple(name for name, _ in known.observations),
            units=tuple(unit for _, unit in known.observations),
        ),
        action=ActionSpace(
            action.shape,
            low=tuple(action.low.tolist()),
            high=tuple(action.high.tolist()),
            names=known.actions,
            units=units,
        ),
        trunk=trunk,
        context_length=task.context_length,
        return_scale=task.return_scale,
        target_returns=target_returns,
        timestep_table_size=task.max_episode_length,
        max_timesteps=task.max_episode_length,
        hop=hop,
        embedding=task.embeddings,
        environment=task.environment,
        step_seconds=known.step_seconds,
    )


def check_data(trajectories: Trajectories, config: PolicyConfig) -> None:
    """Refuse data that was not recorded in the policy's task.

    Raises:
        DatasetError: other shapes, or an episode longer than the task's.
    """
    source = trajectories.source or trajectories.name
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
