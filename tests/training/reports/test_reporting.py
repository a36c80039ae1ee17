"""`lamo-train report` compares what it is given, and answers what it cannot use with one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lamo.evaluation import Score, write_scores
from training import cli
from training.runs.run_folder import RunFolder

Rows = Callable[..., list[Score]]


@pytest.fixture
def scores(rows: Rows, tmp_path: Path) -> Path:
    """A file of two algorithms on two tasks."""
    path = tmp_path / "scores.csv"
    found = [
        score
        for arm in ("lamo", "bc")
        for task in ("hopper-medium", "reacher2d")
        for score in rows({1: {40: [1.0, 2.0]}}, algorithm=arm, task=task, dataset=f"{task}.hdf5")
    ]
    write_scores(path, found)
    return path


def _fails(words: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ending:
        cli.main(["report", *map(str, words)])
    assert ending.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lamo-train report: ")]
    return line


def test_mixed_tasks_are_a_page_and_its_markdown(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = scores.parent / "page.html"
    with pytest.raises(SystemExit) as ending:
        cli.main(["report", str(scores), "--out", str(out), "--reference", "bc", "--protocol", "last"])
    assert not ending.value.code
    assert capsys.readouterr().out == f"report: {out}\nreport: {out.with_suffix('.md')}\n"
    text = out.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# bc against lamo")
    assert "## hopper-medium, hopper-medium.hdf5" in text
    assert "## reacher2d, reacher2d.hdf5" in text


def test_a_run_is_compared_as_training_left_it(finished_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["report", str(finished_run.path), "--out", str(tmp_path / "page.html")])
    assert not ending.value.code
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert text.startswith("# Runs of lamo")
    assert "| data | algorithm | hop 1 | hop 2 |" in text
    assert "[no interval]" in text


def test_what_cannot_be_compared_is_named(scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", scores.parent / "page.html"]
    missing, other, empty = (scores.parent / name for name in ("missing.csv", "other.csv", "empty.csv"))
    other.write_text("task,score\nhopper,3\n")
    empty.write_text(scores.read_text().splitlines()[0] + "\n")
    assert "no scores at" in _fails([missing, *out], capsys)
    assert "missing.csv" in _fails([scores, missing, *out], capsys)
    assert "has the columns ['task', 'score']" in _fails([other, *out], capsys)
    assert "empty.csv holds no episode" in _fails([empty, *out], capsys)
    assert "no run of 'iql'" in _fails([scores, *out, "--reference", "iql"], capsys)
    assert not (scores.parent / "page.html").exists()


def test_a_page_that_its_own_markdown_would_overwrite_is_refused(
    scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a page ends with .html" in _fails([scores, "--out", scores.parent / "page.md"], capsys)


def test_options_of_a_comparison_do_not_go_with_one_evaluation(
    scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["--evaluation", scores.parent, "--out", scores.parent / "page.html"]
    assert "2 paths are given" in _fails([scores, scores, *one], capsys)
    assert "--published belongs to a comparison" in _fails([scores, *one, "--published"], capsys)
    assert "holds no training run" in _fails([scores.parent, *one], capsys)
