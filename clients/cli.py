"""Command line `lamo-evaluate`: play a Gymnasium environment against a service and write the scores."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.evaluation import Evaluation
from clients.evaluation_config import EvaluationConfig
from lamo.errors import InputError, InvalidRequest, ServiceError, UnknownPolicy

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 for bad input, 1 for a service that failed, 130 when interrupted.

    Whatever ends it, the episodes played by then are written.
    """
    options = _parser().parse_args(arguments)
    options.target_returns = tuple(options.target_returns)
    try:
        _evaluate(Evaluation.prepare(EvaluationConfig(**vars(options))))
    except (InputError, UnknownPolicy, InvalidRequest) as error:
        return _complain(str(error), BAD_INPUT)
    except ServiceError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    return 0


def _evaluate(evaluation: Evaluation) -> None:
    try:
        evaluation.play()
    finally:
        played, planned = len(evaluation.results), len(evaluation.planned)
        if played:
            evaluation.write()
            print(f"{evaluation.report()}\n{played} of {planned} episodes are in {evaluation.config.out}")


def _complain(sentence: str, code: int) -> int:
    print(f"lamo-evaluate: {sentence}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamo-evaluate",
        description="Play a Gymnasium environment against a service, many episodes at once.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="where the service listens")
    add("--policy", required=True, help="a served policy, NAME or NAME@REVISION")
    add(
        "--env",
        dest="environment",
        metavar="[MODULE:]ID",
        help="Gymnasium environment, with the module that registers it; the policy's own if left out",
    )
    add("--episodes", type=int, default=20, metavar="N", help="episodes per target return")
    add("--parallel", type=int, default=64, metavar="N", help="episodes played side by side")
    add(
        "--target-returns",
        type=float,
        nargs="+",
        default=(),
        metavar="R",
        help="raw target returns; the policy's own if left out",
    )
    add("--seed", type=int, default=0, metavar="S", help="every target meets the same environments, drawn from it")
    add("--out", type=Path, default=Path("evaluation"), metavar="DIR", help="folder for the results")
    add(
        "--deadline",
        dest="deadline_seconds",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for one call in all: the longest restart of the service to sit out",
    )
    add("--traces", action="store_true", help="also write traces.npz: observations, actions and rewards")
    return parser
