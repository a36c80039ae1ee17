"""The tables of docs/tasks.md are what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.cli import main
from training.tasks.presets import REASONS, differences

PAGE = Path(__file__).resolve().parents[3] / "docs" / "tasks.md"


@pytest.mark.parametrize("words", [["tasks"], ["tasks", "--differences"]])
def test_the_page_holds_what_the_command_prints(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(words)
    assert ending.value.code == 0
    printed = capsys.readouterr().out
    marker = f"<!-- lamo-train {' '.join(words)} -->\n"
    assert PAGE.read_text(encoding="utf-8").partition(marker)[2].partition("<!-- end -->")[0] == printed


def test_every_difference_has_its_reason_and_every_reason_its_difference() -> None:
    rows = differences().splitlines()[2:]
    assert {row.split("`")[1] for row in rows} == set(REASONS)
    assert all(row.count("|") == 6 for row in rows)
