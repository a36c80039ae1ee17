"""Grids: which runs a file stands for, in which order, under which names, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lamo.errors import ConfigError
from training.sweeps import grid_file
from training.sweeps.grid import Grid
from training.sweeps.planned_run import PlannedRun
from training.sweeps.sweep_options import chosen

GridMaker = Callable[[str], Grid]

HEAD = """
[every]
dataset = "noise.hdf5"
updates = 4
"""

COMPARISON = """
[axes]
sample_ratio = [0.5, 1.0]
seed = [3, 1]

[[tasks]]
task = "reacher2d"

[[tasks]]
task = "{other}"
batch_size = 8
axes = {{ sample_ratio = [0.25] }}

[[arms]]
name = "lamo"

[[arms]]
name = "random, wide"
random_init = true
axes = {{ lora_rank = [4, 8] }}

[[exclude]]
name = "random, wide"
task = "reacher2d"
sample_ratio = [0.5, 0.7]
"""


@pytest.fixture
def make(tmp_path: Path) -> GridMaker:
    """Reads a grid from text."""

    def read(text: str) -> Grid:
        path = tmp_path / "mine.toml"
        path.write_text(HEAD + text, encoding="utf-8")
        return grid_file.read(str(path))

    return read


@pytest.fixture
def other_task(tmp_path: Path) -> str:
    """Any task but reacher2d."""
    tasks = [str(run.options["task"]) for run in grid_file.read("horizon").runs()]
    return next(task for task in tasks if task != "reacher2d")


def _short(runs: tuple[PlannedRun, ...]) -> list[tuple[object, ...]]:
    names = ("task", "label", "sample_ratio", "seed")
    return [tuple(run.options[name] for name in names) for run in runs]


def test_a_grid_is_the_product_of_axes_tasks_and_arms_one_seed_after_the_other(
    make: GridMaker, other_task: str
) -> None:
    runs = make(COMPARISON.format(other=other_task)).runs()
    of_one_seed = [
        ("reacher2d", "lamo", 0.5),
        ("reacher2d", "lamo", 1.0),
        ("reacher2d", "random, wide lora_rank=4", 1.0),
        ("reacher2d", "random, wide lora_rank=8", 1.0),
        (other_task, "lamo", 0.25),
        (other_task, "random, wide lora_rank=4", 0.25),
        (other_task, "random, wide lora_rank=8", 0.25),
    ]
    assert _short(runs) == [(*run, seed) for seed in (3, 1) for run in of_one_seed]
    assert [run.number for run in runs] == list(range(14))
    assert {run.options.get("batch_size") for run in runs if run.options["task"] == other_task} == {8}
    assert all(run.config.updates == 4 and run.config.seed == run.options["seed"] for run in runs)
    assert {run.config.random_init for run in runs if "random" in run.name} == {True}


def test_names_say_the_options_and_stay_when_the_grid_is_reordered(make: GridMaker, other_task: str) -> None:
    text = COMPARISON.format(other=other_task)
    names = {tuple(sorted(run.options.items())): run.name for run in make(text).runs()}
    assert "reacher2d_random-wide_lora-rank-4_sample-ratio-1_seed-3" in names.values()
    lines = [part for part in text.split("\n\n") if part.strip()]
    random.Random(0).shuffle(lines)
    turned = "\n\n".join(lines).replace("[3, 1]", "[1, 3, 2]").replace("[4, 8]", "[8, 4]")
    for run in make(turned).runs():
        assert run.options["seed"] == 2 or names[tuple(sorted(run.options.items()))] == run.name


def test_runs_whose_names_would_be_one_get_a_hash(make: GridMaker) -> None:
    text = '[axes]\ndataset = ["{}"]\ntask = ["reacher2d"]'
    runs = make(text.format('a/noise.hdf5", "b/noise.hdf5')).runs()
    assert len({run.name for run in runs}) == 2
    assert all(run.name.startswith("reacher2d_dataset-noise_") for run in runs)
    turned = make(text.format('b/noise.hdf5", "a/noise.hdf5')).runs()
    assert [run.name for run in turned] == [run.name for run in reversed(runs)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task = ", "Invalid value"),
        ('[axis]\ntask = ["reacher2d"]', "unknown table axis"),
        ('[axes]\ntask = "reacher2d"', "axis task of axes is 'reacher2d', it must be a list"),
        ("[axes]\nseed = []", "axis seed of axes is [], it must be a list of one value or more"),
        ("[axes]\nlerning_rate = [1e-3]", "unknown option lerning_rate"),
        ('[axes]\nout = ["here"]', "unknown option out"),
        ('task = "reacher2d"\n[axes]\nlearn = [1.0]', "unknown option learn"),
        ("[axes]\nlearning_rate = [1979-05-27]", "learning_rate cannot be datetime.date(1979, 5, 27)"),
        ('[[arms]]\nname = "one"\nseed = 3', "seeds are the same for every arm"),
        ('[[arms]]\nlabel = "one"', "every entry of [[arms]] needs a name"),
        ('[[arms]]\nname = "one"\n[[arms]]\nname = "one"', "two arms are named 'one'"),
        ('[arms]\nname = "one"', "arms must be tables: [[arms]]"),
        ("[[tasks]]\nupdates = 3", "every entry of [[tasks]] needs a task"),
        ("[[exclude]]\nsed = 3", "unknown option sed"),
        ('[axes]\ntask = ["reacher2d", "nothing"]', "run 1 (nothing): "),
        ('task = "reacher2d"\n[axes]\nbatch_size = ["many"]', "invalid int value: 'many'"),
        ('task = "reacher2d"\n[axes]\nbatch_size = [0]', "batch_size is 0, it must be above 0"),
        ('task = "reacher2d"\n[axes]\nbatch_size = [false]', "batch_size takes a value, not false"),
        ('task = "reacher2d"\n[axes]\nrandom_init = ["yes"]', "ignored explicit argument 'yes'"),
        ('task = "reacher2d"\n[axes]\nseed = [1, 1]', "runs 0 (reacher2d_seed-1_"),
        ('task = "reacher2d"\n[[arms]]\nname = "a"\n[[arms]]\nname = "b"', "(reacher2d_b) are the same"),
        ('task = "reacher2d"\n[axes]\nlm = ["a/x", "b/x"]', "would have the same task, data, seed and name"),
        ('task = "reacher2d"\n[[exclude]]\ntask = "reacher2d"', "has no runs: every one is excluded"),
    ],
)
def test_what_is_no_grid_is_refused_in_one_sentence(make: GridMaker, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        make(text).runs()
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_grid_that_is_nowhere_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no grid of that name; grids: .*lora.*regularisation.*results"):
        grid_file.read("regularization")


def test_numbers_and_ranges_choose_runs_once_each(make: GridMaker) -> None:
    runs = make('task = "reacher2d"\n[axes]\nseed = [0, 1, 2, 3, 4, 5]').runs()
    assert [run.number for run in chosen(runs, ["4", "0-2", "1"])] == [4, 0, 1, 2]
    assert chosen(runs, None) == list(runs)
    for text, message in (("6", "numbered 0 to 5"), ("2-", "a number such as 7"), ("-1", "a number such as 7")):
        with pytest.raises(ConfigError, match=message):
            chosen(runs, [text])


@pytest.mark.parametrize("name", grid_file.committed())
def test_every_committed_grid_stands_for_runs_that_can_be_trained(name: str) -> None:
    runs = grid_file.read(name).runs()
    assert len({run.name for run in runs}) == len(runs) > 1
    seeds: dict[object, set[int]] = {label: set() for label in {run.options["label"] for run in runs}}
    for run in runs:
        seeds[run.options["label"]].add(run.config.seed)
        assert run.config.algorithm not in ("dt", "bc") or run.config.lm == "none"  # whatever LM the others have
    assert set(map(frozenset, seeds.values())) == {frozenset({0, 1, 2})}
