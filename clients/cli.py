"""Command line `lamo-evaluate`: play a Gymnasium environment against a service and write the scores."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from clients.api_key import VARIABLE, read_api_key
from clients.evaluation import Evaluation
from clients.evaluation_config import EvaluationConfig
from lamo.errors import Forbidden, InputError, InvalidRequest, ServiceError, Unauthorized, UnknownPolicy

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130

MISTAKES = (UnknownPolicy, InvalidRequest, Unauthorized, Forbidden)
"""What the service answers to bad input."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 2 for bad input, 1 for a service that failed, 130 when interrupted.

    Whatever ends it, the episodes played by then are written.
    """
    options = vars(_parser().parse_args(arguments))
    options["target_returns"] = tuple(options["target_returns"])
    try:
        options["api_key"] = read_api_key(options.pop("api_key_file"), os.environ)
        _evaluate(Evaluation.prepare(EvaluationConfig(**options)))
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except ServiceError as error:
        return _complain(f"{error}{_ids(error)}", BAD_INPUT if isinstance(error, MISTAKES) else FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    return 0


def _ids(error: ServiceError) -> str:
    ids = {"request": error.request_id, "trace": error.trace_id}
    told = ", ".join(f"{name} {value}" for name, value in ids.items() if value is not None)
    return f" ({told})" if told else ""


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
    add(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"the key on its first line; the environment's {VARIABLE} if left out",
    )
    add("--ca-file", type=Path, metavar="FILE", help="certificates (PEM) to trust instead of the public ones")
    add("--traces", action="store_true", help="also write traces.npz: observations, actions and rewards")
    return parser
