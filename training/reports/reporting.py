"""Reporting: carries out `lamo-train report`, by the page that compares runs or the page of one policy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lamo.errors import ConfigError
from training.reports import comparison_page, score_files
from training.reports.comparison import compare
from training.reports.comparison_signatures import signature_table
from training.reports.protocols import MEAN_OVER_TARGETS, PROTOCOLS
from training.watching.evaluations import read_scores


def run(options: argparse.Namespace) -> None:
    """Write the page and say where it is.

    Raises:
        ConfigError: options that do not belong together, or what the pages refuse.
    """
    compares = options.evaluation is None and not _is_unplayed_run(options.paths)
    written = _compare(options) if compares else _show(options)
    sys.stdout.write("".join(f"report: {path}\n" for path in written))


def _is_unplayed_run(paths: Sequence[Path]) -> bool:
    """Whether there is nothing to compare: one run that nobody has played, such as that of a robot."""
    first = paths[0]
    return len(paths) == 1 and (first / "config.json").is_file() and not read_scores(first / "scores.csv")


def _compare(options: argparse.Namespace) -> list[Path]:
    if options.out.suffix.lower() not in {".html", ".htm"}:
        raise ConfigError(f"--out {options.out}: a page ends with .html, its Markdown is written beside it")
    protocols = {protocol.name: protocol for protocol in PROTOCOLS}
    protocol = protocols[options.protocol or MEAN_OVER_TARGETS.name]
    comparison = compare(score_files.read(options.paths), protocol, options.reference)
    failures = signature_table(options.paths)
    return comparison_page.write(comparison, options.out, published=options.published, signatures=failures)


def _show(options: argparse.Namespace) -> list[Path]:
    if len(options.paths) > 1:
        raise ConfigError(f"--evaluation shows the policy of one run, {len(options.paths)} paths are given")
    chosen = {"--reference": options.reference, "--protocol": options.protocol, "--published": options.published}
    if stray := [name for name, value in chosen.items() if value]:
        raise ConfigError(f"{stray[0]} belongs to a comparison of runs, not to the page of one run")
    from training.reports import report  # noqa: PLC0415 - it brings torch, which a comparison does without
    from training.runs.run_folder import RunFolder  # noqa: PLC0415

    report.write(RunFolder(options.paths[0]), options.evaluation, options.out)
    return [options.out]
