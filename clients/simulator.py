"""Simulator: a Gymnasium environment by its id, checked against the policy that is to play in it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Space, Tuple
from gymnasium.wrappers import FlattenObservation

from lamo.errors import SimulatorError
from lamo.rollout import Environment
from lamo.wire import PolicyInfo


def simulator(environment_id: str, policy: PolicyInfo) -> Callable[[], Environment]:
    """What makes environments of this id, after one was made and found to fit the policy.

    Args:
        environment_id: Gymnasium's, `module:id` where a module registers it; or an `EnvSpec` as JSON.

    Raises:
        SimulatorError: there is no such environment, it cannot be made, or its spaces are not the policy's.
    """
    trial = make_environment(environment_id)
    try:
        _check_observations(environment_id, trial.observation_space, policy)
        _check_actions(environment_id, trial.action_space, policy)
    finally:
        trial.close()
    return lambda: make_environment(environment_id)


def make_environment(environment_id: str) -> gymnasium.Env[Any, Any]:
    """One environment of this id, its observations flat.

    Observations of several parts are flattened as `gymnasium.spaces.utils.flatten` does: the parts of a Dict
    in the order of its space (Gymnasium sorts the keys of a plain dict), each part in C order.

    Args:
        environment_id: Gymnasium's; or an `EnvSpec` as JSON, which begins with a brace.

    Raises:
        SimulatorError: there is no such environment, or it cannot be made.
    """
    try:
        with warnings.catch_warnings():
            # The paper's tasks are the -v4 ones: v5 changed rewards and frictions, so its scores do not compare.
            warnings.filterwarnings("ignore", r".*environment \S+ is out of date", DeprecationWarning)
            spec = EnvSpec.from_json(environment_id) if environment_id.startswith("{") else environment_id
            return _flat(gymnasium.make(spec))
    except (gymnasium.error.Error, AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SimulatorError(f"environment {environment_id!r} cannot be made: {reason}") from error


def _flat(environment: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    if isinstance(environment.observation_space, Dict | Tuple):
        return FlattenObservation(environment)
    return environment


def _check_observations(environment_id: str, space: Space[Any], policy: PolicyInfo) -> None:
    expected = tuple(policy.observation.shape)
    if not isinstance(space, Box) or space.shape != expected:
        raise SimulatorError(
            f"environment {environment_id!r} emits observations {_words(space)}, "
            f"policy {policy.name!r} takes shape {list(expected)}"
        )


def _check_actions(environment_id: str, space: Space[Any], policy: PolicyInfo) -> None:
    expected = tuple(policy.action.shape)
    if not isinstance(space, Box) or space.shape != expected:
        raise SimulatorError(
            f"environment {environment_id!r} takes actions {_words(space)}, "
            f"policy {policy.name!r} answers shape {list(expected)}"
        )
    low, high = np.array(policy.action.low, np.float32), np.array(policy.action.high, np.float32)
    if (low < space.low.ravel()).any() or (high > space.high.ravel()).any():
        raise SimulatorError(
            f"environment {environment_id!r} takes actions from {space.low.tolist()} to {space.high.tolist()}, "
            f"policy {policy.name!r} answers from {low.tolist()} to {high.tolist()}"
        )


def _words(space: Space[Any]) -> str:
    return f"of shape {list(space.shape)}" if isinstance(space, Box) else f"in {space}"
