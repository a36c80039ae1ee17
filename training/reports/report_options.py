"""The options of `lamo-train report`, which compares runs, or shows one policy by its evaluation."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.reports.protocols import MEAN_OVER_TARGETS, PROTOCOLS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="what to compare: scores.csv files, run folders, or folders of run folders; "
        "the one run that is shown, with --evaluation or if it was never played",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the HTML page to write; a comparison is also written as .md",
    )
    comparing = parser.add_argument_group("comparing runs")
    comparing.add_argument("--reference", metavar="ALGORITHM", help="what the others are compared with (lamo)")
    comparing.add_argument(
        "--protocol",
        choices=[protocol.name for protocol in PROTOCOLS],
        help=f"what figures and tables of a single number use ({MEAN_OVER_TARGETS.name})",
    )
    comparing.add_argument(
        "--published", action="store_true", help="put the paper's scores beside runs on the d4rl: data it used"
    )
    showing = parser.add_argument_group("showing one policy")
    showing.add_argument("--evaluation", type=Path, metavar="DIR", help="folder with the scores.csv to report on")
