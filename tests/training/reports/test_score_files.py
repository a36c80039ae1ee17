"""Score files are found where runs leave them, and each episode is read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lamo.errors import ConfigError
from lamo.evaluation import Score, write_scores
from training.reports import score_files

Rows = Callable[..., list[Score]]


def returns(paths: list[Path]) -> list[float]:
    return [score.episode_return for score in score_files.read(paths)]


def test_a_file_a_run_folder_and_a_folder_of_runs_are_read_alike(rows: Rows, tmp_path: Path) -> None:
    for seed in range(3):
        write_scores(tmp_path / "runs" / f"s{seed}" / "scores.csv", rows({1: {5: [float(seed)]}}, seed=seed))
    assert returns([tmp_path / "runs"]) == [0, 1, 2]
    assert returns([tmp_path / "runs" / "s1"]) == [1]
    assert returns([tmp_path / "runs" / "s2" / "scores.csv", tmp_path / "runs" / "s0"]) == [2, 0]


def test_another_evaluation_below_a_run_is_not_part_of_it(rows: Rows, tmp_path: Path) -> None:
    write_scores(tmp_path / "run" / "scores.csv", rows({1: {5: [1.0]}}))
    write_scores(tmp_path / "run" / "evaluation" / "scores.csv", rows({None: {5: [9.0]}}))
    assert returns([tmp_path]) == [1]


def test_an_episode_in_two_files_counts_once(rows: Rows, tmp_path: Path) -> None:
    first, second = rows({1: {5: [1.0, 2.0]}}, seed=0), rows({1: {5: [3.0]}}, seed=1)
    write_scores(tmp_path / "run" / "scores.csv", first)
    write_scores(tmp_path / "all.csv", [*first, *second])
    assert returns([tmp_path / "run", tmp_path / "all.csv", tmp_path / "run"]) == [1, 2, 3]


def test_two_runs_of_one_name_are_refused_instead_of_mixed(rows: Rows, tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        write_scores(tmp_path / name / "scores.csv", rows({1: {5: [value]}}, seed=4))
    with pytest.raises(ConfigError, match=r"two runs of seed 4 go by the name 'lamo' on hopper-medium, in .*a.*b"):
        score_files.read([tmp_path])


def test_policies_without_a_training_seed_are_told_apart_by_their_names(rows: Rows, tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0)):
        write_scores(tmp_path / name / "scores.csv", rows({None: {5: [value]}}, seed=None, policy=name))
    assert returns([tmp_path]) == [1, 2]


def test_a_path_without_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no scores at .*empty"):
        score_files.read([tmp_path / "empty"])


def test_a_row_that_breaks_off_is_named_by_its_line(rows: Rows, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_scores(path, rows({1: {5: [1.0, 2.0]}}))
    path.write_text(path.read_text().rstrip()[:-30])
    with pytest.raises(ConfigError, match=r"scores\.csv, line 3, is no row of scores"):
        score_files.read([path])
