"""A comparison pools what belongs together, says what does not, and its pages hold the same numbers."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamo.errors import ConfigError
from lamo.evaluation import Score
from training.reports import comparison_page, comparison_tables
from training.reports.comparison import FAMILIES, Comparison, cautions, compare
from training.reports.protocols import LAST, MEAN_OVER_TARGETS

Rows = Callable[..., list[Score]]
D4RL, MINARI, OTHER = FAMILIES


@pytest.fixture
def scores(rows: Rows) -> list[Score]:
    """LaMo and DT on D4RL's Hopper at two ratios, three seeds; and on a Minari set without references, one seed."""
    found = []
    for arm, level in (("dt", 20.0), ("lamo", 30.0)):
        for seed in range(3):
            for ratio in (0.1, 1.0):
                table = {
                    update: {3600: [level + seed + update + 2 * ratio], 1800: [level - seed]} for update in (10, 20)
                }
                found += rows(table, algorithm=arm, seed=seed, sample_ratio=ratio, normalize=1.0)
        found += rows({10: {5: [level / 1000]}}, algorithm=arm, task="arm", dataset="minari:lab/arm-v0")
    return found


@pytest.fixture
def comparison(scores: list[Score]) -> Comparison:
    return compare(scores, MEAN_OVER_TARGETS)


def written(comparison: Comparison, folder: Path, **options: bool) -> tuple[str, str]:
    page, markdown = comparison_page.write(comparison, folder / "out" / "page.html", **options)
    return page.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


def test_the_reference_arm_is_lamo_or_the_one_asked_for(scores: list[Score], rows: Rows) -> None:
    assert compare(scores, LAST).arms == ("lamo", "dt")
    assert compare(scores, LAST, "dt").reference == "dt"
    assert compare(rows({1: {5: [1.0]}}, algorithm="bc"), LAST).reference == "bc"
    with pytest.raises(ConfigError, match="no run of 'iql' to compare with; there are dt, lamo"):
        compare(scores, LAST, "iql")


def test_the_protocols_stand_side_by_side_as_mean_and_deviation(comparison: Comparison) -> None:
    table = comparison_tables.protocols(comparison.sections[0], comparison, published=False)
    row = dict(zip(table.header, table.rows[0], strict=True))
    last = np.array([50.2, 51.2, 52.2])
    assert (row["data"], row["algorithm"], row["runs"]) == ("10 %", "lamo", "3")
    assert row["last"] == f"{last.mean():.1f} ± {last.std(ddof=1):.1f}"
    assert row["paper"] == f"{last.mean() - 5:.1f} ± 1.0", "the mean of both evaluations"
    assert row["mean over targets"] == "40.1 ± 0.0"
    assert row["drop"] == "0.0 ± 0.0"


def test_ratios_are_columns_under_one_protocol(comparison: Comparison) -> None:
    table = comparison_tables.ratios(comparison.sections[0], comparison)
    assert table is not None
    assert table.header == ("algorithm", "10 %", "100 %")
    assert table.rows[1] == ("dt", "30.1 ± 0.0 (3)", "31.0 ± 0.0 (3)")
    assert comparison_tables.ratios(comparison.sections[1], comparison) is None


def test_an_aggregate_pools_the_settings_of_its_family_only(comparison: Comparison) -> None:
    table = comparison_tables.aggregates(comparison, D4RL)
    assert table is not None
    assert [row[:3] for row in table.rows] == [("lamo", "2", "6"), ("dt", "2", "6")]
    assert comparison_tables.aggregates(comparison, MINARI) is None, "raw returns have no common scale"
    better = comparison_tables.improvements(comparison, D4RL)
    assert better is not None
    assert better.rows == (("dt", "2", *["0.00 [0.00, 0.00]"] * 3),)


def test_a_minari_set_never_shares_a_table_with_d4rl(scores: list[Score], rows: Rows) -> None:
    same_task = rows({10: {5: [1.0]}}, dataset="minari:mujoco/hopper/medium-v0", normalize=1.0)
    comparison = compare([*scores, *same_task], MEAN_OVER_TARGETS)
    table = comparison_tables.aggregates(comparison, D4RL)
    assert table is not None
    assert table.rows[0][:3] == ("lamo", "2", "6")
    own = comparison_tables.aggregates(comparison, MINARI)
    assert own is not None
    assert own.rows == (("lamo", "1", "1", *["1.0 [no interval]"] * 3),)


def test_a_single_run_has_neither_deviation_nor_interval(comparison: Comparison) -> None:
    table = comparison_tables.protocols(comparison.sections[1], comparison, published=False)
    assert table.rows[0][2:] == ("1", "0.0300", "0.0300", "0.0300", "0.0300 [no interval]", "0.0000")
    assert table.caption.startswith("Episode return (raw)")


def test_hops_are_columns_and_other_tables_are_of_the_smallest(scores: list[Score], rows: Rows) -> None:
    hopped = rows({20: {3600: [7.0], 1800: [7.0]}}, sample_ratio=1.0, hop=4, normalize=1.0)
    comparison = compare([*scores, *hopped], MEAN_OVER_TARGETS)
    table = comparison_tables.hops(comparison.sections[0], comparison)
    assert table is not None
    assert table.header == ("data", "algorithm", "hop 1", "hop 4")
    assert table.rows[0][-1] == "7.0 (1)"
    assert [row[0] for row in table.rows] == ["100 %", "100 %"], "only where there is more than one"
    assert compare(scores, LAST).sections[0].hops == [1]
    by_ratio = comparison_tables.ratios(comparison.sections[0], comparison)
    assert by_ratio == comparison_tables.ratios(compare(scores, MEAN_OVER_TARGETS).sections[0], comparison)


def test_published_scores_stand_beside_the_very_data_they_were_scored_on(
    scores: list[Score], rows: Rows, tmp_path: Path
) -> None:
    shown, _ = written(compare(scores, LAST), tmp_path, published=True)
    assert "<td>73.7</td>" in shown, "LaMo at 10 %"
    assert "published" not in written(compare(scores, LAST), tmp_path)[0]
    own = [
        score
        for arm in ("lamo", "dt")
        for dataset in ("hopper.hdf5", "minari:mujoco/hopper/medium-v0", "d4rl:hopper-medium-replay-v2")
        for score in rows({1: {5: [1.0]}}, algorithm=arm, dataset=dataset, sample_ratio=0.1, normalize=1.0)
    ]
    page, markdown = written(compare(own, LAST), tmp_path, published=True)
    assert "73.7" not in page + markdown
    assert "Published" not in page + markdown


def test_what_speaks_against_a_comparison_is_said(rows: Rows) -> None:
    def warned(**change: object) -> str:
        table = {10: {5: [1.0]}}
        both = [*rows(table, normalize=1.0), *rows(table, **{"algorithm": "dt", "normalize": 1.0, **change})]
        return " ".join(cautions(compare(both, LAST).sections[0]))

    assert warned() == ""
    assert "2 different files (dddddddddddd, eeeeeeeeeeee)" in warned(dataset_hash="e" * 64)
    assert "2 versions of the code (0.1.0+release, cccccccccccc)" in warned(code_version="0.1.0+release")
    assert "end at different updates (10, 20)" in warned(update=20)
    assert "played on different episodes" in warned(episode_seed=99)
    assert "do not have the same seeds" in warned(seed=1)
    assert "only in part" in warned(normalize=None)


def test_the_page_needs_nothing_else_and_can_be_heard(comparison: Comparison, tmp_path: Path) -> None:
    page, _ = written(comparison, tmp_path)
    outside = re.findall(r'(?:src|href)="(?!#|data:)([^"]+)"', page)
    assert outside == []
    assert '<html lang="en">' in page
    assert page.count("<table>") == page.count("<caption>") > 4
    assert page.count("<svg") == page.count('role="img"') == 3, "intervals, data ratios, one section's curves"
    assert re.findall(r"<th(?! scope=)[^>ea]*>", page) == [], "every header cell says what it heads"
    targets = re.findall(r'href="#([^"]+)"', page)
    assert all(f'id="{target}"' in page for target in targets)


def test_markdown_holds_the_same_cells_in_tables_of_even_rows(scores: list[Score], tmp_path: Path) -> None:
    piped = [
        Score(**{**vars(score), "algorithm": "a|b*"}) if score.algorithm == "dt" else score for score in scores
    ]
    page, markdown = written(compare(piped, MEAN_OVER_TARGETS), tmp_path)
    widths = []
    for table in re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        assert len({len(row) for row in rows}) == 1
        widths.append(len(rows))
    cells = [html.unescape(cell) for cell in re.findall(r"<(?:td|th)[^>]*>([^<]*)</", page)]
    assert len(widths) == page.count("<table>")
    assert sum(widths) - len(widths) == page.count("<tr"), "a row of dashes more per table"
    assert "a|b*" in cells
    assert all(cell.replace("|", "\\|").replace("*", "\\*") in markdown for cell in cells)


def test_the_same_scores_make_the_same_page(scores: list[Score], tmp_path: Path) -> None:
    first, second = (written(compare(scores, LAST), tmp_path / name) for name in ("a", "b"))
    assert first == second


def test_names_from_a_file_are_text_not_markup(rows: Rows, tmp_path: Path) -> None:
    page, markdown = written(compare(rows({1: {5: [1.0]}}, task="<script>alert(1)</script>"), LAST), tmp_path)
    assert "<script" not in page
    assert not re.search(r"(?<!\\)<script", markdown)
