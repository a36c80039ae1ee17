"""Sweeps: real runs in processes of their own, interrupted and gone on with, failing, estimated, handed to Ray."""

from __future__ import annotations

import csv
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lamo.errors import ConfigError
from training import cli
from training.learning.config import TrainConfig
from training.sweeps.estimate import COLUMNS, Timing, kinds
from training.sweeps.file_lock import FileLock
from training.sweeps.grid_file import read
from training.sweeps.planned_run import PlannedRun
from training.sweeps.run_process import interrupted, last_lines
from training.sweeps.side_by_side import slots
from training.sweeps.sweep_folder import State, SweepFolder


@pytest.fixture
def grid(tmp_path: Path, tiny_lm: Path, tiny_data: Path) -> Path:
    """Two seeds of a run that takes a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(
        f"""
        [every]
        task = "reacher2d"
        dataset = "{tiny_data}"
        lm = "{tiny_lm}"
        updates = 4
        batch_size = 4
        warm_up = 1
        eval_every = 0
        eval_episodes = 1
        target_returns = [9.0]
        threads = 1
        [axes]
        seed = [0, 1]
        """,
        encoding="utf-8",
    )
    return path


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "sweep")


Command = Callable[..., int]


@pytest.fixture
def sweep(grid: Path, folder: SweepFolder) -> Command:
    """Runs `lamo-train sweep` on the grid, and gives its exit code."""

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as ending:
            cli.main(["sweep", str(grid), "--out", str(folder.path), *words])
        return int(ending.value.code or 0)

    return run


def _signal_when(condition: Callable[[], bool]) -> threading.Thread:
    def watch() -> None:
        while not condition():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_an_interrupted_sweep_saves_its_runs_and_goes_on_to_one_file_of_scores(
    sweep: Command, grid: Path, folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = read(str(grid)).runs()
    folders = [folder.run_folder(run) for run in runs]
    watch = _signal_when(lambda: all(item.updates() for item in folders))
    assert sweep("--jobs-per-device", "2", "--set", "updates=100000", "--set", "save_every=2") == 130
    watch.join()
    assert "every run is saved; go on with the same command" in capsys.readouterr().err
    made = max(update for item in folders for update in item.updates())
    longer = ("--set", f"updates={made + 1}", "--set", "save_every=2")
    sweep("--list", *longer)
    assert capsys.readouterr().out.count("  interrupted  ") == 2
    assert sweep("--jobs-per-device", "2", *longer) == 0
    with folder.scores.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["update"] for row in rows] == [str(made + 1)] * 2
    written = [item.checkpoint.stat().st_mtime_ns for item in folders]
    assert sweep(*longer) == 0
    assert [item.checkpoint.stat().st_mtime_ns for item in folders] == written
    sweep("--list", *longer)
    assert capsys.readouterr().out.endswith("2 of 2 finished\n")
    assert sweep(*longer, "--set", "batch_size=8") == 2
    assert "was begun with batch_size 4, now it is 8" in capsys.readouterr().err


def test_a_run_that_fails_is_reported_with_the_end_of_its_log_while_the_others_go_on(
    sweep: Command, grid: Path, folder: SweepFolder, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = f'[[tasks]]\ntask = "reacher2d"\naxes = {{ dataset = ["nowhere.hdf5", "{tiny_data}"] }}\n'
    grid.write_text(grid.read_text() + task)
    assert sweep("--seeds", "0", "--set", "updates=2", "--jobs-per-device", "2") == 1
    said = capsys.readouterr().err
    assert "run 0 failed with exit code 2" in said
    assert re.search(r"lamo-train train: .*nowhere\.hdf5", said)
    assert "run 0 failed, see log.txt in its folder" in said
    assert folder.state(read(str(grid)).with_seeds([0]).runs()[0]) is State.NOT_BEGUN
    with folder.scores.open(newline="") as file:
        assert [row["update"] for row in csv.DictReader(file)] == ["2"]


def test_a_run_that_somebody_else_is_at_work_on_is_left_to_them(
    sweep: Command, grid: Path, folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = read(str(grid)).runs()
    with (
        FileLock(folder.run_folder(first).path / ".lock", wait=False),
        FileLock(folder.run_folder(second).path / ".lock", wait=False),
    ):
        assert folder.state(first) is State.RUNNING
        assert sweep() == 0
    assert "under way in another process: run 0, 1" in capsys.readouterr().err
    assert folder.state(first) is State.NOT_BEGUN


def test_an_estimate_trains_each_kind_of_run_for_real_and_leaves_nothing(
    sweep: Command, folder: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("--estimate") == 0
    header, row, last = capsys.readouterr().out.splitlines()
    values = dict(zip(COLUMNS, row.split(), strict=True))
    assert (values["runs"], values["such as"]) == ("2", "reacher2d_seed-0")
    timing = Timing(*(float(values[name]) for name in ("s to start", "s/update", "s/evaluation")))
    assert min(timing.start, timing.update, timing.evaluation) > 0
    expected = (timing.start + 4 * timing.update + timing.evaluation) / 3600
    assert float(values["hours/run"]) == pytest.approx(expected, rel=0.02)
    assert float(values["hours"]) == pytest.approx(2 * expected, rel=0.02)
    assert last.endswith("hours for 2 runs, 1 at a time")
    assert header.split()[0] == "runs"
    assert not folder.path.exists()


def test_runs_that_differ_in_seed_or_data_alone_are_of_one_kind(tiny_data: Path) -> None:
    runs = [
        PlannedRun(number, str(number), {"task": "reacher2d", "dataset": str(tiny_data), **options})
        for number, options in enumerate([{"seed": 1}, {"sample_ratio": 0.5}, {"lora_rank": 3}, {"updates": 7}])
    ]
    assert [[run.number for run in kind] for kind in kinds(runs)] == [[0, 1, 3], [2]]


def test_hours_count_start_updates_and_every_evaluation(tiny_config: Callable[..., TrainConfig]) -> None:
    timing = Timing(start=5, update=0.1, evaluation=20)
    cases = ({"eval_every": 40}, {"eval_every": 50}, {"eval_every": 0}, {"eval_every": 40, "eval_episodes": 0})
    seconds = [timing.hours(tiny_config(**{"updates": 100, "eval_episodes": 1, **case})) * 3600 for case in cases]
    assert seconds == pytest.approx([75, 55, 35, 15])


def test_places_take_devices_in_turn_and_share_the_cores() -> None:
    places = slots(["cuda:0", "cuda:1"], 2)
    assert [place.options for place in places] == [{"device": name} for name in ("cuda:0", "cuda:1") * 2]
    threads = max(1, (os.cpu_count() or 1) // 4)
    assert {place.environment["OMP_NUM_THREADS"] for place in places} == {str(threads)}
    (alone,) = slots([None], 1)
    assert (alone.options, alone.environment) == ({}, {})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--jobs-per-device", "0"), "--jobs-per-device is 0, it must be at least 1"),
        (("--devices", "cpu,cpu"), "it must be different names"),
        (("--set", "updates"), "--set updates: it must be NAME=VALUE"),
        (("--set", "seed=3"), "or by --seeds"),
        (("--data", "hopper-medium=x.hdf5"), "hopper-medium, which is no task of grid tiny"),
        (("--ray", "local", "--devices", "cuda:0,cuda:1"), "with --ray the cluster chooses"),
        (("--ray", "local", "--list"), "not allowed with argument"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_runs(
    sweep: Command, folder: SweepFolder, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert sweep(*words) == 2
    assert message in capsys.readouterr().err
    assert not folder.path.exists()


def test_data_of_a_task_replaces_the_grids(grid: Path) -> None:
    runs = replace(read(str(grid)), data={"reacher2d": "minari:mine"}).runs()
    assert [run.config.dataset for run in runs] == ["minari:mine"] * 2


def test_scores_of_all_runs_are_gathered_without_half_a_row(grid: Path, folder: SweepFolder) -> None:
    runs = read(str(grid)).runs()
    for run, text in zip(runs, ("a,b\n1,2\n3,", "a,b\n5,6\n"), strict=True):
        folder.run_folder(run).path.mkdir(parents=True)
        folder.run_folder(run).scores.write_text(text)
    folder.gather_scores(runs)
    assert folder.scores.read_text() == "a,b\n1,2\n5,6\n"
    folder.run_folder(runs[0]).scores.write_text("a,c\n1,2\n")
    with pytest.raises(ConfigError, match=r"scores of different columns: a,c\n?, and a,b"):
        folder.gather_scores(runs)


def test_the_end_of_a_log_keeps_of_a_bar_what_was_drawn_last(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("one\n\n" + "0 %\r50 %\r100 %\n" + "error: no\n")
    assert last_lines(tmp_path) == "one\n100 %\nerror: no"
    assert last_lines(tmp_path / "nowhere") == ""


def test_a_run_that_a_signal_ended_has_not_failed() -> None:
    assert [interrupted(code) for code in (130, -2, -15, 1, 2, -9)] == [True] * 3 + [False] * 3


def test_ray_that_is_not_installed_is_named(
    sweep: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert sweep("--ray", "auto") == 2
    assert "the package ray is not installed" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_ray_cluster_carries_out_the_runs(
    sweep: Command, grid: Path, folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert sweep("--ray", "local", "--only", "1") == 0
    assert [folder.state(run) for run in read(str(grid)).runs()] == [State.NOT_BEGUN, State.FINISHED]
    assert len(folder.scores.read_text().splitlines()) == 2
