"""A robot's logs in CSV and Parquet: the conventions, chosen columns, and a sentence for every fault."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from lamo.errors import ConfigError, DatasetError
from training.data import sources
from training.data.tabular import Columns

Log = dict[str, list[object]]


def log(**changes: list[object] | None) -> Log:
    """Two episodes, of three steps and of two; `None` leaves a column out."""
    columns: dict[str, list[object] | None] = {
        "episode": ["a", "a", "a", "b", "b"],
        "step": [0, 1, 2, 0, 1],
        "observation.height [m]": [0.1, 0.2, 0.3, 0.4, 0.5],
        "observation.speed [m/s]": [1, 2, 3, 4, 5],
        "action.lift": [-1.0, 0.0, 1.0, 0.5, -0.5],
        "reward": [0.0, 0.0, 1.0, 0.0, 2.0],
        "terminated": [False, False, True, False, False],
        **changes,
    }
    return {name: values for name, values in columns.items() if values is not None}


@pytest.fixture(params=["csv", "parquet"])
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(folder: Path, content: Log, suffix: str = "csv") -> str:
    path = folder / f"lift.{suffix}"
    table = pa.table(content)
    if suffix == "csv":
        pa.csv.write_csv(table, path)
    else:
        pa.parquet.write_table(table, path)
    return str(path)


def test_conventional_names_need_no_option(tmp_path: Path, suffix: str) -> None:
    trajectories = sources.read(written(tmp_path, log(), suffix))
    assert trajectories.lengths.tolist() == [3, 2]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    assert np.allclose(trajectories[1].observations, [[0.4, 4.0], [0.5, 5.0]])
    assert trajectories[0].actions.tolist() == [[-1.0], [0.0], [1.0]]
    assert trajectories.episode_returns.tolist() == [1.0, 2.0]


def test_names_and_units_are_taken_from_the_columns(tmp_path: Path) -> None:
    attributes = sources.read(written(tmp_path, log())).attributes
    assert attributes["names"] == '{"observations": ["height", "speed"], "actions": ["lift"]}'
    assert attributes["units"] == '{"observations": ["m", "m/s"]}'


def test_columns_are_chosen_by_name_and_order(tmp_path: Path, suffix: str) -> None:
    content = log(episode=None, reward=None, terminated=None)
    content |= {"run": [1, 1, 2, 2, 2], "r": [1, 2, 3, 4, 5], "crash": [0, 1, 0, 0, 0], "late": [0, 0, 0, 0, 1]}
    columns = Columns(
        observations=("action.lift", "observation.height [m]"),
        actions=("observation.speed [m/s]",),
        reward="r",
        episode="run",
        step="r",
        terminated="crash",
        truncated="late",
        step_seconds=0.05,
    )
    trajectories = sources.read(written(tmp_path, content, suffix), columns)
    assert trajectories.lengths.tolist() == [2, 3]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    assert np.allclose(trajectories[0].observations, [[-1.0, 0.1], [0.0, 0.2]])
    assert trajectories[0].rewards.tolist() == [1.0, 2.0]
    assert trajectories.attributes["step_seconds"] == "0.05"


def test_without_an_episode_column_the_flags_cut(tmp_path: Path) -> None:
    content = log(episode=None, step=None, truncated=[0, 0, 0, 1, 0])
    trajectories = sources.read(written(tmp_path, content))
    assert trajectories.lengths.tolist() == [3, 1, 1]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False, False]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_log_that_is_not_separated_by_commas_is_refused(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(separator.join(("episode", "observation.x", "action.y")) + "\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as file:
        file.write(separator.join(("0", "0", "0")) + "\n")
    with pytest.raises(DatasetError, match=f"separates its columns by {re.escape(repr(separator))}; write it with"):
        sources.read(path)


def test_a_log_without_rewards_has_zeros_and_says_so(tmp_path: Path) -> None:
    trajectories = sources.read(written(tmp_path, log(reward=None)))
    assert trajectories.episode_returns.tolist() == [0.0, 0.0]
    assert "none in the log" in trajectories.attributes["rewards"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"action.lift": [0.0, None, 0.0, 0.0, 0.0]}, "column 'action.lift', row 2 is empty or NaN"),
        ({"action.lift": [0.0, 0.0, float("inf"), 0.0, 0.0]}, "column 'action.lift', row 3 is not finite"),
        ({"step": [0, 1, 1, 0, 1]}, "column 'step', row 3 is 1 after 1; steps rise"),
        ({"episode": ["a", "a", "b", "a", "a"], "step": None, "terminated": None},
         "column 'episode', row 4 is 'a' again, after rows of another episode"),
        ({"episode": ["a", None, "b", "b", "b"]}, "column 'episode', row 2 is missing"),
        ({"terminated": [0, 1, 0, 0, 0]}, "column 'terminated', row 2 ends an episode that goes on"),
        ({"terminated": None, "truncated": [0, 1, 0, 0, 0]}, "column 'truncated', row 2 ends an episode"),
        ({"terminated": [0, 0, 2, 0, 0]}, "column 'terminated', row 3 is neither 0 nor 1"),
        ({"action.lift": None}, "has no column that begins 'action.'; name them with --actions; it has episode"),
        ({"episode": None, "terminated": None}, "has no column 'episode', 'terminated' or 'truncated'"),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_file_column_and_row(
    tmp_path: Path, suffix: str, changes: Log, sentence: str
) -> None:
    with pytest.raises(DatasetError, match=rf"lift\.{suffix}.*{sentence}"):
        sources.read(written(tmp_path, log(**changes), suffix))


def test_text_in_a_column_of_numbers_is_quoted_with_its_row(tmp_path: Path, suffix: str) -> None:
    content = log(**{"action.lift": ["0.5", "0.25", "off", "0.5", "1"]})
    with pytest.raises(DatasetError, match=r"column 'action\.lift', row 3 is the text 'off', not a number"):
        sources.read(written(tmp_path, content, suffix))


def test_a_column_of_dates_is_refused_by_its_type(tmp_path: Path) -> None:
    content = log(reward=["2026-01-01"] * 5)
    with pytest.raises(DatasetError, match="column 'reward' is of type date32"):
        sources.read(written(tmp_path, content))


def test_an_absent_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no column 'pay'; it has episode, step, observation"):
        sources.read(written(tmp_path, log()), Columns(reward="pay"))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "cannot be read as a table"),
        ("a.csv", b"x,y\n1,2\n3\n", "cannot be read as a table: CSV parse error: .*Row #3"),
        ("a.csv", b"x,y\n", "holds no row at all"),
        ("a.parquet", b"PAR1", "cannot be read as a table"),
        ("a.csv", b"action.x,action.x,observation.y,episode\n1,2,3,4\n", "more than one column 'action.x'"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=sentence):
        sources.read(str(tmp_path / name))


def test_a_missing_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no data file"):
        sources.read(str(tmp_path / "x.csv"))


def test_columns_of_a_file_that_has_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"only \.csv and \.parquet files have them"):
        sources.read(str(tmp_path / "x.hdf5"), Columns(reward="pay"))


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timestep_lasts(seconds: float) -> None:
    with pytest.raises(ConfigError, match="a timestep lasts longer than 0 seconds"):
        Columns(step_seconds=seconds)
