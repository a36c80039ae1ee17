"""A comparison lists the failures that the training of its runs shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lamo.evaluation import Score, write_scores
from training import cli
from training.reports.comparison_signatures import signature_table
from training.watching.watch import WATCH_COLUMNS, Watch, append_watch

Rows = Callable[..., list[Score]]


def _write_run(folder: Path, rows: list[Score], last_language_loss: float) -> None:
    write_scores(folder / "scores.csv", rows)
    (folder / "watch.csv").write_text(",".join(WATCH_COLUMNS) + "\n")
    for update, loss in ((0, 3.0), (5, last_language_loss)):
        append_watch(
            folder / "watch.csv", Watch(update, 1.0 - update / 10, None, loss, 0.1, None, None, None, 9, 9)
        )


@pytest.fixture
def runs(tmp_path: Path, rows: Rows) -> Path:
    """A folder of two runs, of which one forgot language, beside the collection of their scores."""
    tables = {name: rows({5: {40: [1.0, 2.0]}}, seed=seed) for seed, name in enumerate(("forgot", "kept"))}
    for name, loss in (("forgot", 6.5), ("kept", 3.1)):
        _write_run(tmp_path / name, tables[name], loss)
    write_scores(tmp_path / "scores.csv", [*tables["forgot"], *tables["kept"]])
    return tmp_path


def test_every_watched_run_below_a_path_is_looked_at_once(runs: Path) -> None:
    table = signature_table([runs, runs / "forgot", runs / "forgot" / "scores.csv"])
    assert table is not None
    ((run, name, sentence),) = table.rows
    assert (run, name) == ("forgot", "forgetting")
    assert "6.50 nats per token" in sentence
    assert "1 of 2 watched runs" in table.caption
    assert signature_table([runs / "kept"]) is None
    assert signature_table([runs / "scores.csv"]) is None


def test_the_page_lists_them_after_the_comparison(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["report", str(runs), "--out", str(tmp_path / "page.html")])
    assert not ending.value.code
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "## Signatures of training" in text
    assert "| forgot | forgetting | After 5 updates" in text
