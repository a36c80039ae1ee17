"""The paper's settings per task."""

import pytest

from lamo.errors import ConfigError
from training.tasks import TASKS, get_task


@pytest.mark.parametrize(
    ("name", "environment", "context_length", "targets", "scale", "length", "embeddings"),
    [
        ("reacher2d", "training.reacher2d:Reacher2d-v0", 5, (76, 40), 10, 100, "mlp"),
        ("hopper", "Hopper-v4", 20, (3600, 2600, 2200, 1800), 1000, 1000, "linear"),
        ("walker2d", "Walker2d-v4", 20, (5000, 4000, 3000, 2500), 1000, 1000, "mlp"),
        ("halfcheetah", "HalfCheetah-v4", 20, (12000, 8000, 6000, 4500), 1000, 1000, "mlp"),
    ],
)
def test_a_task_has_the_papers_settings(
    name: str,
    environment: str,
    context_length: int,
    targets: tuple[float, ...],
    scale: float,
    length: int,
    embeddings: str,
) -> None:
    task = get_task(name)
    assert (task.name, task.environment, task.context_length) == (name, environment, context_length)
    assert (task.target_returns, task.return_scale) == (targets, scale)
    assert (task.max_episode_length, task.embeddings) == (length, embeddings)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_reference_returns(name: str) -> None:
    reference = TASKS[name].reference_returns
    assert reference.expert > reference.random


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown task 'pong'; known tasks: reacher2d, hopper, walker2d, half"):
        get_task("pong")
