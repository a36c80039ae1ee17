"""Makes the environments that policies are evaluated in."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium

from lamo.errors import SimulatorError

Environment = gymnasium.Env[Any, Any]


def make_environment(name: str) -> Environment:
    """The environment of that Gymnasium name (`module:id` where it has to be imported).

    Raises:
        SimulatorError: there is none, or its simulator is not installed.
    """
    with warnings.catch_warnings():
        # The -v4 tasks are meant: later versions changed frictions and rewards (`training.tasks`).
        warnings.filterwarnings(
            "ignore", message=r".*The environment \S+ is out of date", category=DeprecationWarning
        )
        try:
            return gymnasium.make(name, disable_env_checker=True)
        except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise SimulatorError(f"environment {name!r} cannot be made: {reason}") from error
