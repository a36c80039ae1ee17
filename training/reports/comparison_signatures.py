"""The table of failures that the training of compared runs shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from training.reports.comparison_tables import Table
from training.reports.watched import WATCH, signatures_of


def signature_table(paths: Sequence[Path]) -> Table | None:
    """The signatures of the watched runs at or below `paths`, which a comparison is given; None without any."""
    found = {folder: signatures_of(folder) for folder in sorted(set(_watched_folders(paths)))}
    rows = [(folder.name, item.name, item.sentence) for folder, items in found.items() for item in items]
    shown = sum(map(bool, found.values()))
    caption = f"What shows at the last look at a run; {shown} of {len(found)} watched runs show something"
    return Table(caption, ("run", "signature", "where it shows"), tuple(rows), 3) if rows else None


def _watched_folders(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (found.parent.resolve() for found in path.rglob(WATCH))
        elif (path.parent / WATCH).is_file():
            yield path.parent.resolve()
