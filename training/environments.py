"""Makes the environments that policies are evaluated in."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import FlattenObservation

from lamo.errors import SimulatorError

Environment = gymnasium.Env[Any, Any]


def make_environment(name: str, *, render_mode: str | None = None) -> Environment:
    """The environment of that name, its observations flat.

    Observations of several parts are flattened as `gymnasium.spaces.utils.flatten` does: the parts of a Dict
    in the order of its space (Gymnasium sorts the keys of a plain dict), each part in C order.

    Args:
        name: Gymnasium's, `module:id` where it has to be imported; or, with arguments of its own, an
            `EnvSpec` as JSON, which begins with a brace, as Minari's data sets carry it.
        render_mode: "rgb_array" for one that can be looked at.

    Raises:
        SimulatorError: there is none, or its simulator is not installed.
    """
    more: dict[str, Any] = {} if render_mode is None else {"render_mode": render_mode}
    with warnings.catch_warnings():
        # The -v4 tasks are meant: later versions changed frictions and rewards (`training.tasks.task`).
        warnings.filterwarnings(
            "ignore", message=r".*The environment \S+ is out of date", category=DeprecationWarning
        )
        try:
            spec = EnvSpec.from_json(name) if name.startswith("{") else name
            return _flat(gymnasium.make(spec, disable_env_checker=True, **more))
        except (gymnasium.error.Error, AttributeError, ImportError, KeyError, TypeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise SimulatorError(f"environment {name!r} cannot be made: {reason}") from error


def _flat(environment: Environment) -> Environment:
    if isinstance(environment.observation_space, gymnasium.spaces.Dict | gymnasium.spaces.Tuple):
        return FlattenObservation(environment)
    return environment
