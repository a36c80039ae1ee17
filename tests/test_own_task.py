"""From a crane's log to a policy without a simulator: the example's parts, in this process and small."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from examples.own_task.crane import MAX_STEPS, RAIL, STRONGEST, Crane
from examples.own_task.drive import operators_returns
from examples.own_task.record import record
from examples.own_task.run import edit
from lamo.checkpoint import Checkpoint
from training import cli
from training.data import sources

EPISODES = 6


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crane") / "log.csv"
    record(path, episodes=EPISODES, seed=3)
    return path


def lamo_train(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    assert ended.value.code == 0


def test_the_same_seed_writes_the_same_log(log: Path, tmp_path: Path) -> None:
    record(tmp_path / "again.csv", episodes=EPISODES, seed=3)
    record(tmp_path / "other.csv", episodes=EPISODES, seed=4)
    assert (tmp_path / "again.csv").read_bytes() == log.read_bytes()
    assert (tmp_path / "other.csv").read_bytes() != log.read_bytes()


def test_the_drive_brakes_before_the_end_of_the_rail_and_says_so() -> None:
    crane, overruled = Crane(np.random.default_rng(0)), 0
    for _ in range(MAX_STEPS):
        reading = crane.step(2.0)
        assert reading.observation[0] < RAIL
        assert abs(reading.executed_action[0]) <= STRONGEST
        overruled += reading.executed_action[0] < 0
    assert overruled > 0


def test_the_log_is_read_as_it_was_written(log: Path) -> None:
    trajectories = sources.read(log)
    assert len(trajectories) == EPISODES
    np.testing.assert_allclose(trajectories.episode_returns, operators_returns(log))
    with log.open(encoding="utf-8") as file:
        ended = {row["episode"] for row in csv.DictReader(file) if row["terminated"] == "True"}
    assert {str(index) for index, item in enumerate(trajectories) if item.terminated} == ended


def test_a_log_becomes_a_policy_with_the_machines_names_units_and_bounds(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, run = tmp_path / "crane.toml", tmp_path / "run"
    lamo_train("data", "inspect", log, "--step-seconds", 0.2, "--write-task", task)
    edit(task)
    lamo_train(
        "train", "--task", task, "--out", run, "--updates", 3, "--batch-size", 4, "--warm-up", 0, "--threads", 1,
    )  # fmt: skip
    assert "held-out trajectories" in capsys.readouterr().out
    policy = Checkpoint.read(run / "checkpoint").config
    assert (policy.task, policy.environment, policy.step_seconds) == ("crane", None, 0.2)
    assert (policy.action.low, policy.action.high) == ((-STRONGEST,), (STRONGEST,))
    assert policy.action.units == ("m/s^2",)
    assert policy.observation.names == ("cart", "cart_velocity", "sway", "sway_rate", "distance")
    written = json.loads((run / "checkpoint" / "training.json").read_text(encoding="utf-8"))
    assert [item["name"] for item in written["action_error"]["dimensions"]] == ["acceleration"]
