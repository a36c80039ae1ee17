"""A task proposed from data: whatever the returns are, a TOML file that says something sensible."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamo.errors import ConfigError
from training.data import commands as data
from training.data import hdf5, sources
from training.data.proposal import COMMENTS, Proposal, return_scale, target_returns
from training.data.tabular import Columns
from training.data.trajectories import Trajectories, Trajectory
from training.tasks.task import read_task


def trajectories(
    returns: list[float], *, length: int = 30, actions: tuple[float, float] = (-1.0, 1.0), **attributes: str
) -> Trajectories:
    """Episodes of that length with those returns, two actions between the two values."""

    def one(episode_return: float) -> Trajectory:
        rewards = np.zeros(length)
        rewards[-1] = episode_return
        columns = np.linspace(*actions, length, dtype=np.float32)
        return Trajectory(np.zeros((length, 3), np.float32), np.stack([columns, columns], axis=1), rewards, False)

    return Trajectories(tuple(map(one, returns)), "lift", "data/lift.hdf5", attributes=attributes)


def test_targets_are_the_datas_best_and_its_upper_quantiles() -> None:
    proposal = Proposal.of(trajectories([float(value) for value in range(0, 4001, 40)]))
    assert proposal.target_returns == (4000.0, 3600.0, 3000.0, 2000.0)
    assert proposal.return_scale == 1000.0


def test_the_file_has_a_comment_on_every_line_and_reads_as_what_was_proposed() -> None:
    about = {
        "environment": "Hopper-v4",
        "reference_random": "-20.5",
        "reference_expert": "3234.3",
        "step_seconds": "0.008",
        "names": json.dumps({"observations": ["x", "y", 'a "z"'], "actions": ["l", "r"]}),
        "units": json.dumps({"observations": ["m", "m", "rad"]}),
    }
    text = Proposal.of(trajectories([76.0, 40.0], **about)).toml(Path())
    assert all(" # " in line or line.startswith("# ") for line in text.splitlines())
    assert tomllib.loads(text) == {
        "env": "Hopper-v4",
        "dataset": "data/lift.hdf5",
        "context_length": 20,
        "target_returns": [76.0, 72.4, 67.0, 58.0],
        "return_scale": 10.0,
        "max_episode_length": 1000,
        "reference_returns": {"random": -20.5, "expert": 3234.3},
        "step_seconds": 0.008,
        "names": {"observations": ["x", "y", 'a "z"'], "actions": ["l", "r"]},
        "units": {"observations": ["m", "m", "rad"]},
    }


def test_without_an_environment_the_actions_bounds_are_the_datas() -> None:
    task = tomllib.loads(Proposal.of(trajectories([1.0], actions=(-0.123456789, 0.987654321))).toml(Path()))
    assert (task["action_low"], task["action_high"]) == ([-0.123457] * 2, [0.987655] * 2)
    assert not {"env", "reference_returns", "step_seconds", "names", "units"} & task.keys()


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32))
def test_no_recorded_action_lies_outside_the_bounds(first: float, second: float) -> None:
    proposal = Proposal.of(trajectories([0.0], actions=(first, second)))
    assert proposal.action_low is not None
    assert proposal.action_high is not None
    assert np.float32(proposal.action_low[0]) <= np.float32(min(first, second))
    assert np.float32(proposal.action_high[0]) >= np.float32(max(first, second))


def test_a_bound_that_is_short_in_decimals_stays_short() -> None:
    proposal = Proposal.of(trajectories([0.0], actions=(-0.4, 0.7)))
    assert (proposal.action_low, proposal.action_high) == ((-0.4, -0.4), (0.7, 0.7))


@pytest.mark.parametrize(
    ("returns", "targets", "scale"),
    [
        ([0.0, 0.0], (0.0,), 1.0),
        ([-0.0], (0.0,), 1.0),
        ([5.0, 5.0, 5.0], (5.0,), 1.0),
        ([-1500.0, -200.0], (-200.0, -330.0, -525.0, -850.0), 100.0),
        ([0.004, 0.004], (0.004,), 0.001),
        ([1.0, 0.0, 0.0, 0.0, 0.0], (1.0, 0.6, 0.0), 1.0),
        ([10.0], (10.0,), 10.0),
        ([9.9999996], (10.0,), 10.0),
        ([5e-324], (5e-324,), 1.0),
    ],
)
def test_returns_of_any_sign_give_targets_and_a_scale(
    returns: list[float], targets: tuple[float, ...], scale: float
) -> None:
    proposal = Proposal.of(trajectories(returns))
    assert proposal.target_returns == targets
    assert proposal.return_scale == scale


@given(st.lists(st.floats(-1e9, 1e9, allow_subnormal=False), min_size=1, max_size=20))
def test_targets_are_different_sorted_and_of_the_order_of_one(returns: list[float]) -> None:
    targets = target_returns(np.array(returns))
    assert list(targets) == sorted(set(targets), reverse=True)
    largest = max(abs(target) for target in targets) / return_scale(targets)
    assert largest == 0.0 or 1.0 - 1e-9 <= largest < 10.0 + 1e-9


@pytest.mark.parametrize(("length", "context_length"), [(1, 1), (7, 7), (19, 19), (300, 20)])
def test_the_context_is_no_longer_than_the_usual_episode(length: int, context_length: int) -> None:
    assert Proposal.of(trajectories([1.0], length=length)).context_length == context_length


def test_an_environment_that_is_not_installed_leaves_the_datas_length() -> None:
    assert Proposal.of(trajectories([1.0], environment="Nowhere-v7")).max_episode_length == 30


def test_every_key_of_the_file_has_its_comment() -> None:
    assert set(COMMENTS) == set(Proposal.__dataclass_fields__)


def test_inspect_writes_the_task_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lift.hdf5"
    hdf5.write(path, trajectories([3.0, 5.0]), {"step_seconds": 0.1})
    data.inspect(str(path), Columns(), None, tmp_path / "t.toml")
    assert "episodes" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"t\.toml exists already"):
        data.inspect(str(path), Columns(), None, tmp_path / "t.toml")


@pytest.mark.parametrize("environment", [None, "Pendulum-v1"])
def test_what_is_proposed_is_a_task_whose_data_is_found(tmp_path: Path, environment: str | None) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "tasks").mkdir()
    about = {"names": '{"observations": ["x", "y", "z"], "actions": ["l", "r"]}', "step_seconds": 0.1}
    about |= {} if environment is None else {"environment": environment}
    hdf5.write(tmp_path / "data" / "lift.hdf5", trajectories([3.0, 5.0]), about)
    data.inspect(str(tmp_path / "data" / "lift.hdf5"), Columns(), None, tmp_path / "tasks" / "t.toml")
    task = read_task(str(tmp_path / "tasks" / "t.toml")).task
    assert (task.name, task.environment, task.step_seconds) == ("t", environment, 0.1)
    assert task.target_returns == (5.0, 4.8, 4.5, 4.0)
    assert task.names.actions == ("l", "r")
    assert task.action_low == (None if environment else (-1.0, -1.0))
    assert task.dataset is not None
    assert len(sources.read(task.dataset)) == 2


def test_no_task_is_proposed_for_a_log_that_its_name_does_not_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"make log\.csv HDF5 by `lamo-train data convert` with these columns"):
        data.inspect("log.csv", Columns(reward="pay"), None, tmp_path / "t.toml")


def test_what_the_data_does_not_say_is_named_in_comments() -> None:
    lines = Proposal.of(trajectories([1.0], environment="Pendulum-v1")).toml(Path()).splitlines()
    unknown = {line.split()[1] for line in lines if "is not known" in line}
    assert unknown == {"reference_returns", "step_seconds", "names", "units"}
