"""The error of a policy's actions, beside that of answering nothing but the mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from training import cli
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.runs.run_folder import RunFolder
from training.runs.train import train
from training.watching.action_error import (
    ActionError,
    DimensionError,
    markdown_table,
    read_action_error,
    text_table,
)

ConfigMaker = Callable[..., TrainConfig]

ERROR = ActionError(
    "held-out", 1234, (DimensionError("gripper", "", 0.1234, 1.0), DimensionError("elbow", "N m", 12.0, 13.0))
)


def _answering(experiment: Experiment, action: list[float]) -> Experiment:
    """The same, with a network that always answers one action."""
    head = experiment.model.get_submodule("predict_action.fc2")
    with torch.no_grad():
        head.get_parameter("weight").zero_()
        head.get_parameter("bias").copy_(torch.tensor(action))
    return experiment


def test_it_is_the_root_of_the_mean_squared_difference_in_every_dimension(tiny_config: ConfigMaker) -> None:
    experiment = _answering(Experiment.prepare(tiny_config(hold_out=0.4, context_length=1)), [0.5, -0.25])
    assert experiment.data.held_out is not None
    recorded = np.concatenate([item.actions for item in experiment.data.held_out])
    mean = np.concatenate([item.actions for item in experiment.data.trained]).mean(axis=0)
    error = ActionError.of(experiment)
    assert (error.trajectories, error.timesteps) == ("held-out", len(recorded))
    assert [item.name for item in error.dimensions] == ["shoulder", "elbow"]
    assert [item.unit for item in error.dimensions] == ["N m", "N m"]
    for index, (item, answer) in enumerate(zip(error.dimensions, (0.5, -0.25), strict=True)):
        assert item.error == pytest.approx(np.sqrt(np.mean((answer - recorded[:, index]) ** 2)), rel=1e-5)
        of_mean = np.sqrt(np.mean((mean[index] - recorded[:, index]) ** 2))
        assert item.error_of_mean == pytest.approx(of_mean, rel=1e-5)


def test_an_action_counts_as_it_would_be_executed(tiny_config: ConfigMaker) -> None:
    beyond = ActionError.of(_answering(Experiment.prepare(tiny_config()), [7.0, -9.0]))
    at_bounds = ActionError.of(_answering(Experiment.prepare(tiny_config()), [1.0, -1.0]))
    assert beyond == at_bounds


def test_where_nothing_is_held_out_it_says_so(tiny_config: ConfigMaker) -> None:
    error = ActionError.of(Experiment.prepare(tiny_config(preset="paper")))
    assert error.trajectories == "training"
    assert "over the training trajectories" in error.caption


def test_it_survives_the_trip_through_json_and_is_read_as_a_table() -> None:
    assert ActionError.from_json(ERROR.to_json()) == ERROR
    assert "1,234 actions, answered in windows spread evenly over the held-out trajectories" in text_table(ERROR)
    assert text_table(ERROR).splitlines()[2:] == [
        "gripper     –  0.123                   1",
        "  elbow   N m     12                  13",
    ]
    assert "| gripper | – | 0.123 | 1 |" in markdown_table(ERROR)


def test_a_checkpoint_from_before_it_was_measured_has_none(tmp_path: Path) -> None:
    assert read_action_error(tmp_path) is None
    (tmp_path / "training.json").write_text("{}")
    assert read_action_error(tmp_path) is None


@pytest.fixture(scope="module")
def robot_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: ConfigMaker) -> RunFolder:
    """A run of a task without an environment."""
    task = tmp_path_factory.mktemp("tasks") / "robot.toml"
    task.write_text(
        "context_length = 5\ntarget_returns = [10]\nreturn_scale = 10\nmax_episode_length = 100\n"
        "action_low = [-1, -1]\naction_high = [1, 1]\n"
        '[names]\nactions = ["shoulder", "elbow"]\n[units]\nactions = ["rad", "rad"]\n'
    )
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "robot")
    train(tiny_config(task=str(task), updates=4, eval_every=2, eval_episodes=3), folder)
    return folder


def test_a_task_without_environment_ends_with_the_action_error(
    robot_run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["train", "--resume", str(robot_run.path), "--updates", "6"])
    assert ending.value.code == 0
    printed = capsys.readouterr().out
    assert "held-out trajectories" in printed
    assert "shoulder   rad" in printed
    assert "normalized score" not in printed
    card = (robot_run.checkpoint / "README.md").read_text(encoding="utf-8")
    assert "Not evaluated." in card
    assert "| shoulder | rad |" in card


def test_its_page_needs_no_evaluation(robot_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["report", str(robot_run.path), "--out", str(tmp_path / "page.html")])
    assert ending.value.code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<title>robot: robot</title>" in page
    assert "<td>shoulder</td><td>rad</td>" in page
    assert "Training, watched" in page
    assert "<h2>Scores</h2>" not in page
