"""The paper's settings per task."""

import pytest

from lamo.errors import ConfigError
from training.tasks import TASKS, get_task

PAPER = {
    "reacher2d": ("training.reacher2d:Reacher2d-v0", 5, (76, 40), 10, 100, "mlp"),
    "hopper": ("Hopper-v4", 20, (3600, 2600, 2200, 1800), 1000, 1000, "linear"),
    "walker2d": ("Walker2d-v4", 20, (5000, 4000, 3000, 2500), 1000, 1000, "mlp"),
    "halfcheetah": ("HalfCheetah-v4", 20, (12000, 8000, 6000, 4500), 1000, 1000, "mlp"),
}


@pytest.mark.parametrize("name", PAPER)
def test_a_task_has_the_papers_settings(name: str) -> None:
    task = get_task(name)
    environment, context_length, target_returns, return_scale, max_episode_length, embeddings = PAPER[name]
    assert (task.environment, task.context_length) == (environment, context_length)
    assert (task.target_returns, task.return_scale) == (target_returns, return_scale)
    assert (task.max_episode_length, task.embeddings) == (max_episode_length, embeddings)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_reference_returns(name: str) -> None:
    reference = TASKS[name].reference_returns
    assert reference.expert > reference.random


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown task 'pong'; known tasks: reacher2d, hopper, walker2d, half"):
        get_task("pong")
