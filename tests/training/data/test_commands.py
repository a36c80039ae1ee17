"""The `lamo-train data` commands, from their arguments to the files they leave."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from lamo.errors import ConfigError, DatasetError
from training.data import commands as data
from training.data import hdf5


def lamo_train_data(*words: str | Path) -> None:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    data.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "reacher2d.hdf5"
    lamo_train_data("make", "--episodes", "6", "--seed", "3", "--out", path)
    return path


def test_make_writes_episodes_and_where_they_came_from(made: Path) -> None:
    trajectories = hdf5.read(made)
    assert trajectories.lengths.tolist() == [100] * 6
    assert (trajectories.observation_shape, trajectories.action_dim) == ((12,), 2)
    assert trajectories.attributes["task"] == "reacher2d"
    assert trajectories.attributes["environment"] == "training.reacher2d:Reacher2d-v0"
    assert trajectories.attributes["seed"] == "3"
    assert set(trajectories.attributes) >= {"behavior_policy", "code_version"}


def test_make_repeats_itself_byte_for_byte(made: Path, tmp_path: Path) -> None:
    lamo_train_data("make", "--episodes", "6", "--seed", "3", "--out", tmp_path / "again.hdf5")
    assert (tmp_path / "again.hdf5").read_bytes() == made.read_bytes()


def test_convert_draws_a_share_and_saves_which(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.hdf5"
    lamo_train_data("convert", made, out, "--sample-ratio", "0.5", "--seed", "1")
    source, part = hdf5.read(made), hdf5.read(out)
    choice = json.loads((tmp_path / "part.episodes.json").read_text())
    assert choice["source_sha256"] == source.sha256 == part.attributes["source_sha256"]
    assert (choice["sample_ratio"], choice["seed"], len(choice["episodes"])) == (0.5, 1, 3)
    for index, trajectory in zip(choice["episodes"], part, strict=True):
        assert np.array_equal(trajectory.observations, source[index].observations)
    assert part.attributes["task"] == "reacher2d"


def test_convert_counts_drawn_episodes_in_the_source(made: Path, tmp_path: Path) -> None:
    lamo_train_data("convert", made, tmp_path / "part.hdf5", "--episodes", "2:5")
    assert json.loads((tmp_path / "part.episodes.json").read_text())["episodes"] == [2, 3, 4]


def test_convert_reads_archives(made: Path, tmp_path: Path) -> None:
    archive = tmp_path / "recording.npz"
    generator = np.random.default_rng(0)
    np.savez(
        archive,
        observations=generator.normal(size=(4, 3)),
        actions=generator.normal(size=(4, 2)),
        rewards=np.ones(4),
        terminals=np.array([False, True, False, False]),
        timeouts=np.array([False, False, False, True]),
    )
    lamo_train_data("convert", archive, tmp_path / "recording.hdf5")
    assert hdf5.read(tmp_path / "recording.hdf5").lengths.tolist() == [2, 2]


def test_inspect_prints_the_facts_of_the_file(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trajectories = hdf5.read(made)
    mean = trajectories.episode_returns.mean()
    lamo_train_data("inspect", made, "--task", "reacher2d")
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    facts = {name: value.strip() for name, value in rows.items()}
    assert facts["sha256"] == trajectories.sha256
    assert (facts["episodes"], facts["steps"], facts["ends"]) == ("6", "600", "0 terminated, 6 truncated")
    assert facts["[task]"] == "reacher2d"
    assert facts["mean return"].startswith(f"{mean:.2f} ")
    assert facts["mean normalized score"] == f"{mean:.2f} (reacher2d)"
    assert facts["observations"].startswith("shape [12], from ")
    assert facts["actions"] == "shape [2], from -1 to 1"


def test_make_without_a_scripted_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no behavior policy is scripted for task 'hopper-medium'"):
        lamo_train_data("make", "--task", "hopper-medium", "--out", tmp_path / "x.hdf5")


def test_make_of_an_unknown_task_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'cooking'; known tasks: ant-medium"):
        lamo_train_data("make", "--task", "cooking", "--out", tmp_path / "x.hdf5")


def test_output_of_another_kind_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.csv ends in '\.csv'"):
        lamo_train_data("make", "--episodes", "1000000", "--out", tmp_path / "x.csv")


def test_input_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x\.txt is no kind of data that is read here: d4rl:ID, .*\.csv"):
        lamo_train_data("inspect", tmp_path / "x.txt")


def test_convert_never_overwrites_its_source(made: Path) -> None:
    with pytest.raises(ConfigError, match="would be overwritten by a part of itself"):
        lamo_train_data("convert", made, made, "--sample-ratio", "0.5")


def test_a_range_outside_the_recording_is_refused_with_its_size(made: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="trajectory 6 was asked of data set 'reacher2d', which has 6"):
        lamo_train_data("convert", made, tmp_path / "part.hdf5", "--episodes", "4:9")


@pytest.mark.parametrize("text", ["5", "3:3", "4:2", "-1:2", "a:b"])
def test_a_range_that_is_none_is_a_usage_error(
    text: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        lamo_train_data("convert", made, tmp_path / "part.hdf5", f"--episodes={text}")
    assert ended.value.code == 2
    assert f"'{text}' is not A:B" in capsys.readouterr().err


def test_convert_takes_the_episodes_that_a_file_names(made: Path, tmp_path: Path) -> None:
    lamo_train_data("convert", made, tmp_path / "a.hdf5", "--sample-ratio", "0.5", "--seed", "1")
    lamo_train_data("convert", made, tmp_path / "b.hdf5", "--indices", tmp_path / "a.episodes.json")
    assert hdf5.read(tmp_path / "a.hdf5").sha256 == hdf5.read(tmp_path / "b.hdf5").sha256
    chosen = [json.loads((tmp_path / f"{name}.episodes.json").read_text())["episodes"] for name in "ab"]
    assert chosen[0] == chosen[1]


def test_convert_refuses_to_draw_from_episodes_that_are_named(made: Path, tmp_path: Path) -> None:
    (tmp_path / "indices.json").write_text("[0]")
    with pytest.raises(ConfigError, match="names the episodes; a range or a share of them cannot be asked for too"):
        lamo_train_data(
            "convert", made, tmp_path / "a.hdf5", "--indices", tmp_path / "indices.json", "--sample-ratio", "0.5"
        )


def test_a_log_becomes_hdf5_that_keeps_its_names_and_units(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("run,height [m],lift [N],done\n1,0.5,1,0\n1,0.25,2,1\n2,0,3,0\n")
    columns = ("--observations", "height [m]", "--actions", "lift [N]", "--episode-column", "run")
    lamo_train_data(
        "convert", log, tmp_path / "log.hdf5", *columns, "--terminated", "done", "--step-seconds", "0.05"
    )
    trajectories = hdf5.read(tmp_path / "log.hdf5")
    assert trajectories.lengths.tolist() == [2, 1]
    assert json.loads(trajectories.attributes["names"]) == {"observations": ["height"], "actions": ["lift"]}
    assert json.loads(trajectories.attributes["units"]) == {"observations": ["m"], "actions": ["N"]}
    assert trajectories.attributes["step_seconds"] == "0.05"


def test_fetch_refuses_what_is_not_d4rls() -> None:
    with pytest.raises(ConfigError, match="minari download ID"):
        lamo_train_data("fetch", "minari:x")


def test_inspect_shows_each_number_that_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.csv"
    log.write_text("episode,observation.height [m],action.lift [m/s]\n0,1.5,0.25\n0,1.5,-0.5\n", encoding="utf-8")
    lamo_train_data("inspect", log, "--step-seconds", "0.1", "--write-task", tmp_path / "lift.toml")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "observation height always 1.5 m" in lines
    assert "action lift from -0.5 to 0.25 m/s" in lines
    assert "step_seconds = 0.1 " in (tmp_path / "lift.toml").read_text(encoding="utf-8")


def test_inspect_says_how_many_actions_a_tasks_bounds_leave_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, task = tmp_path / "log.csv", tmp_path / "lift.toml"
    lines = ["episode,observation.height,action.lift", *(f"0,1,{lift}" for lift in (0.1, -0.3, 0.2, 0.9))]
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lamo_train_data("inspect", log, "--write-task", task)
    task.write_text(task.read_text(encoding="utf-8").replace("[0.9]", "[0.5]"), encoding="utf-8")
    capsys.readouterr()
    lamo_train_data("inspect", log, "--task", str(task))
    assert "25 % of the actions" in capsys.readouterr().out
