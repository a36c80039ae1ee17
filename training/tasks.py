"""The tasks this project trains on, each with the settings of the LaMo paper."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from lamo.errors import ConfigError
from lamo.scores import ReferenceReturns, reference_returns


@dataclass(frozen=True)
class Task:
    """One environment and how the paper trains and evaluates on it (Shi et al., ICLR 2024, with its code).

    Attributes:
        name: the task's name in commands, reports and `lamo.scores`.
        environment: the Gymnasium name, with its module where Gymnasium does not bring it. The -v4 versions
            are meant: -v5 changed frictions and rewards, so its scores are not comparable.
        context_length: timesteps the policy sees.
        target_returns: raw returns the policy is asked for in evaluation, highest first.
        return_scale: divisor that brings returns-to-go near 1.
        max_episode_length: steps after which the environment truncates; rows of the timestep table.
        embeddings: "mlp" or "linear" maps into and out of the trunk.
    """

    name: str
    environment: str
    context_length: int
    target_returns: tuple[float, ...]
    return_scale: float
    max_episode_length: int
    embeddings: Literal["mlp", "linear"]

    @property
    def reference_returns(self) -> ReferenceReturns:
        """The raw returns that scores 0 and 100 stand for."""
        return reference_returns(self.name)


_LOCOMOTION_TASKS = (
    Task(
        name="hopper",
        environment="Hopper-v4",
        context_length=20,
        target_returns=(3600.0, 2600.0, 2200.0, 1800.0),
        return_scale=1000.0,
        max_episode_length=1000,
        embeddings="linear",
    ),
    Task(
        name="walker2d",
        environment="Walker2d-v4",
        context_length=20,
        target_returns=(5000.0, 4000.0, 3000.0, 2500.0),
        return_scale=1000.0,
        max_episode_length=1000,
        embeddings="mlp",
    ),
    Task(
        name="halfcheetah",
        environment="HalfCheetah-v4",
        context_length=20,
        target_returns=(12000.0, 8000.0, 6000.0, 4500.0),
        return_scale=1000.0,
        max_episode_length=1000,
        embeddings="mlp",
    ),
)

_REACHER2D = Task(
    name="reacher2d",
    environment="training.reacher2d:Reacher2d-v0",
    context_length=5,
    target_returns=(76.0, 40.0),
    return_scale=10.0,
    max_episode_length=100,
    embeddings="mlp",
)

TASKS = MappingProxyType({task.name: task for task in (_REACHER2D, *_LOCOMOTION_TASKS)})


def get_task(name: str) -> Task:
    """The task of that name; ConfigError lists the known names otherwise."""
    if name not in TASKS:
        raise ConfigError(f"unknown task {name!r}; known tasks: {', '.join(TASKS)}")
    return TASKS[name]
