"""Tasks: the paper's settings, everybody's own files, and what is refused in them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from lamo.errors import ConfigError
from training.tasks.task import Task, read_task, task_names

PAPER = {
    "reacher2d": ("training.reacher2d:Reacher2d-v0", 5, (76, 40), 10, 100, "mlp"),
    "hopper": ("Hopper-v4", 20, (3600, 2600, 2200, 1800), 1000, 1000, "linear"),
    "walker2d": ("Walker2d-v4", 20, (5000, 4000, 3000, 2500), 1000, 1000, "mlp"),
    "halfcheetah": ("HalfCheetah-v4", 20, (12000, 8000, 6000, 4500), 1000, 1000, "mlp"),
}
DATA = ("medium", "medium-replay", "medium-expert")
NAMES = ["reacher2d", *(f"{name}-{kind}" for name in list(PAPER)[1:] for kind in DATA)]

OWN = """
dataset = "log.csv"
context_length = 8
target_returns = [3.0, 2.0]
return_scale = 1
max_episode_length = 50
action_low = [-1, -2]
action_high = [1, 2]

[names]
actions = ["left", "right"]

[training]
learning_rate = 1e-3
hops = [1, 4]
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_task_has_the_papers_settings(name: str) -> None:
    task = read_task(name).task
    environment, *numbers, embeddings = PAPER[name.partition("-")[0]]
    assert task.environment == environment
    assert numbers == [task.context_length, task.target_returns, task.return_scale, task.max_episode_length]
    assert task.embeddings == embeddings
    assert task.dataset == ("reacher2d.hdf5" if name == "reacher2d" else f"d4rl:{name}-v2")


def test_all_of_the_papers_d4rl_tasks_are_there() -> None:
    assert {*NAMES, "ant-medium", "kitchen-complete", "kitchen-partial"} == set(task_names())


@pytest.mark.parametrize("name", sorted(set(task_names()) - {"reacher2d"}))
def test_reference_returns_are_d4rls(name: str) -> None:
    found = importlib.util.find_spec("d4rl")
    if found is None or found.origin is None:
        pytest.skip("the package d4rl is not installed")
    path = Path(found.origin).with_name("infos.py")
    spec = importlib.util.spec_from_file_location("d4rl_infos", path)
    assert spec is not None
    assert spec.loader is not None
    infos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(infos)
    task = read_task(name).task
    identity = str(task.dataset).removeprefix("d4rl:")
    assert task.reference_returns is not None
    assert task.reference_returns.random == infos.REF_MIN_SCORE[identity]
    assert task.reference_returns.expert == infos.REF_MAX_SCORE[identity]


def test_a_task_survives_its_json() -> None:
    for name in task_names():
        task = read_task(name).task
        assert Task.from_json(task.to_json()) == task


def test_somebodys_own_task_is_a_file_whose_data_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "crane.toml"
    path.write_text(OWN)
    read = read_task(str(path))
    assert (read.task.name, read.task.environment, read.task.reference_returns) == ("crane", None, None)
    assert read.task.dataset == str(tmp_path / "log.csv")
    assert (read.task.action_low, read.task.names.actions) == ((-1, -2), ("left", "right"))
    assert read.overrides["training"] == {"learning_rate": 1e-3, "hops": (1, 4)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("context_length = 8", ""), "field context_length is missing"),
        (("context_length = 8", "context_length = 0"), "context_length is 0, it must be a whole number above 0"),
        (("return_scale = 1", "return_scale = 0"), "return_scale is 0, it must be a number above 0"),
        (("return_scale = 1", 'return_scale = "big"'), "a field of the task has the wrong type"),
        (("[3.0, 2.0]", "[]"), "target_returns is \\(\\), it must be one or more finite numbers"),
        (("[3.0, 2.0]", "3.0"), "target_returns is 3.0, it must be one or more finite numbers"),
        (
            ("return_scale = 1", 'return_scale = 1\nstep_seconds = "0.2"'),
            "step_seconds is 0.2, it must be a number",
        ),
        (("action_low = [-1, -2]", ""), "action_low is None, it must be given together with action_high"),
        (("[-1, -2]", '["-1", "-2"]'), "action_low is .*, it must be a list of finite numbers"),
        (("[-1, -2]", "-1"), "action_low is -1, it must be a list of finite numbers"),
        (("[names]", "[colours]"), "unknown field colours"),
        (("actions = [", "wheels = ["), "unknown field names.wheels"),
        (("dataset = ", "paper = 3\ndataset = "), "it must be a table of settings"),
        (("dataset = ", "dataset "), "Expected '='"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, change: tuple[str, str], sentence: str
) -> None:
    path = tmp_path / "crane.toml"
    path.write_text(OWN.replace(*change))
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}: .*{sentence}"):
        read_task(str(path))


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown task 'pong'; known tasks: ant-medium, halfcheetah-medium, "):
        read_task("pong")
    with pytest.raises(ConfigError, match=r"there is no task file .*pong.toml"):
        read_task("pong.toml")
