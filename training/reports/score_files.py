"""Score files: finds the scores.csv of runs, and reads them together, each episode once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lamo.errors import ConfigError
from lamo.evaluation import Score, read_scores

NAME = "scores.csv"


def read(paths: Sequence[Path]) -> list[Score]:
    """Every episode under `paths`: score files, run folders, or folders of such folders.

    An episode that lies in two files, a run's and a collection's, is read once.

    Raises:
        ConfigError: there is nothing at a path, a file is no scores.csv, or two runs go by the same name.
    """
    read_from: dict[tuple[object, ...], tuple[Score, Path]] = {}
    for file in dict.fromkeys(found for path in paths for found in find(path)):
        for score in read_scores(file):
            known, where = read_from.setdefault(_identity(score), (score, file))
            if known.episode_return != score.episode_return:
                raise ConfigError(_conflict(score, where, file))
    return [score for score, _ in read_from.values()]


def find(path: Path) -> Iterator[Path]:
    """The score files at or below `path`; what lies below a run's own scores.csv is another evaluation of it.

    Raises:
        ConfigError: there is none.
    """
    if path.is_file():
        yield path.resolve()
        return
    found = False
    for folder, below, files in os.walk(path):
        below.sort()
        if NAME in files:
            found = True
            below.clear()
            yield (Path(folder) / NAME).resolve()
    if not found:
        raise ConfigError(f"no scores at {path}: it is no {NAME} and no folder that holds one")


def _identity(score: Score) -> tuple[object, ...]:
    """What tells episodes apart. A policy without a training seed goes by its own name."""
    return (
        score.task,
        score.dataset,
        score.sample_ratio,
        score.algorithm,
        score.preset,
        score.policy if score.seed is None else score.seed,
        score.revision,
        score.update,
        score.target_return,
        score.hop,
        score.episode_seed,
    )


def _conflict(score: Score, first: Path, second: Path) -> str:
    where = f"in {first}" if first == second else f"in {first} and in {second}"
    seed = f"of policy {score.policy!r}" if score.seed is None else f"of seed {score.seed}"
    return (
        f"two runs {seed} go by the name {score.algorithm!r} on {score.task}, {where}, and score differently: "
        "one of them needs a --label of its own"
    )
