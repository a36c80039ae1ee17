"""The section of a run's page: what was watched as figures, and the signatures it shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from training.reports import report
from training.reports.watched import signatures_of, watched
from training.runs.run_folder import RunFolder
from training.watching.watch import WATCH_COLUMNS, Watch, append_watch, read_watches

LOOK = Watch(0, 1.0, 1.0, 3.5, 0.0, None, None, None, 2**30, 1500)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder with a header for what is watched."""
    (tmp_path / "watch.csv").write_text(",".join(WATCH_COLUMNS) + "\n")
    return RunFolder(tmp_path)


def _write(folder: RunFolder, *looks: Watch) -> None:
    for look in looks:
        append_watch(folder.watch, look)


def test_rows_survive_the_round_trip(folder: RunFolder) -> None:
    looks = [LOOK, dataclasses.replace(LOOK, update=5, held_out_action_loss=None, score=0.1 + 0.2, score_drop=0.0)]
    _write(folder, *looks)
    assert read_watches(folder.watch) == looks


def test_a_run_that_was_not_watched_has_no_section(folder: RunFolder, tmp_path: Path) -> None:
    assert watched(folder.path) is None
    assert watched(tmp_path / "older") is None
    assert signatures_of(tmp_path / "older") == []


def test_a_healthy_run_has_three_figures_and_says_that_no_signature_shows(folder: RunFolder) -> None:
    better = dataclasses.replace(
        LOOK,
        update=100,
        training_action_loss=0.1,
        held_out_action_loss=0.2,
        update_norm=0.02,
        updates_per_second=8.0,
    )
    _write(folder, LOOK, better)
    section = watched(folder.path)
    assert section is not None
    assert section.signatures == []
    assert section.verdict == "None of overfitting, forgetting, insufficient adaptation, collapse shows."
    assert section.lead == "1,500 parameters trained, 8 updates per second, 1.00 GiB of memory at most."
    assert [svg.startswith("<svg") for svg, _ in section.figures] == [True] * 3
    assert "3.50 at the first look" in section.figures[1][1]


def test_without_held_out_trajectories_language_or_movement_their_figures_say_so_or_are_left_out(
    folder: RunFolder,
) -> None:
    _write(folder, dataclasses.replace(LOOK, held_out_action_loss=None, language_loss=None))
    section = watched(folder.path)
    assert section is not None
    ((_, caption),) = section.figures
    assert "No trajectory was held out: overfitting cannot be seen." in caption


def test_the_page_of_a_run_names_its_signatures(finished_run: RunFolder, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    for name in ("config.json", "data.json", "metrics.csv", "scores.csv"):
        (run.path / name).write_bytes((finished_run.path / name).read_bytes())
    run.watch.write_text(",".join(WATCH_COLUMNS) + "\n")
    _write(run, LOOK, dataclasses.replace(LOOK, update=10, language_loss=6.0, update_norm=0.5))
    report.write(run, None, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<strong>Forgetting.</strong> After 10 updates the trunk predicts held-out text at 6.00 nats" in page
    assert [signature.name for signature in signatures_of(run.path)] == ["forgetting"]
