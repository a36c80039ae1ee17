"""Evaluation: which episodes are played, and how their scores are written, in process and over HTTP alike."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from lamo.errors import ConfigError
from lamo.rollout import EpisodePlan, EpisodeResult, Trace
from lamo.scores import ReferenceReturns

_Number = TypeVar("_Number", int, float)

EVALUATION_STREAM = 1
"""Keeps the episodes of an evaluation apart from those that data of the same seed was recorded in."""


@dataclass(frozen=True)
class Origin:
    """How the policy that is scored came to be, as far as whoever scores it knows.

    Attributes:
        dataset, dataset_hash: name and SHA-256 of the data it was trained on.
        sample_ratio: share of the trajectories it was trained on.
        algorithm: the arm of a comparison: "lamo", "dt", ...
        preset: "paper" or "fixed".
        seed: of the training run.
        update: how many updates it was trained for.
        code_version: of the code that trained it.
    """

    dataset: str = ""
    dataset_hash: str = ""
    sample_ratio: float | None = None
    algorithm: str = ""
    preset: str = ""
    seed: int | None = None
    update: int | None = None
    code_version: str = ""


@dataclass(frozen=True)
class Score:
    """One episode's row of `scores.csv`, the same columns wherever it was played.

    Attributes:
        dataset ... update, code_version: as in `Origin`.
        episode_seed: what the environment was reset with.
        episode_return: raw.
        normalized_score: None for a task without reference returns.
        policy, revision: who played; the revision is empty for a policy that is no checkpoint yet.
    """

    task: str
    dataset: str
    dataset_hash: str
    sample_ratio: float | None
    algorithm: str
    preset: str
    seed: int | None
    update: int | None
    target_return: float
    hop: int
    episode_seed: int
    episode_return: float
    episode_length: int
    normalized_score: float | None
    code_version: str
    policy: str
    revision: str


@dataclass(frozen=True)
class ScoreSummary:
    """What the episodes of one policy, hop and target return came to; deviations are over the episodes."""

    policy: str
    hop: int
    target_return: float
    episodes: int
    mean_return: float
    std_return: float
    mean_length: float
    mean_score: float | None
    std_score: float | None


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """The environment seeds of an evaluation; more episodes under the same seed only add to the list.

    Raises:
        ConfigError: a negative seed, or fewer than one episode.
    """
    if seed < 0 or episodes < 1:
        raise ConfigError(f"cannot play {episodes} episodes under seed {seed}: at least 1, and a seed from 0")
    words = np.random.SeedSequence(seed, spawn_key=(EVALUATION_STREAM,)).generate_state(episodes)
    return [int(word) for word in words]


def plans(target_returns: Iterable[float], episodes: int, seed: int) -> list[EpisodePlan]:
    """`episodes` of every target return, target by target; each target meets the same environment seeds.

    Raises:
        ConfigError: a target return that is not finite, or what `episode_seeds` refuses.
    """
    targets, seeds = list(target_returns), episode_seeds(seed, episodes)
    for target_return in targets:
        if not math.isfinite(target_return):
            raise ConfigError(f"target return is {target_return}, it must be a finite number")
    return [EpisodePlan(target_return, word) for target_return in targets for word in seeds]


def scores_of(
    results: Iterable[EpisodeResult],
    *,
    task: str,
    policy: str,
    revision: str,
    hop: int,
    reference: ReferenceReturns | None,
    origin: Origin | None = None,
) -> list[Score]:
    """The rows of played episodes, in their order.

    Args:
        reference: what scores 0 and 100 stand for; None where the task has no such returns.
        origin: None where it is not known.
    """
    known = asdict(Origin() if origin is None else origin)
    return [
        Score(
            task=task,
            target_return=result.plan.target_return,
            hop=hop,
            episode_seed=result.plan.seed,
            episode_return=result.episode_return,
            episode_length=result.episode_length,
            normalized_score=None if reference is None else reference.normalized_score(result.episode_return),
            policy=policy,
            revision=revision,
            **known,
        )
        for result in results
    ]


def summarize(scores: Iterable[Score]) -> list[ScoreSummary]:
    """One summary per policy, hop and target return, in the order in which they first come."""
    groups: dict[tuple[str, int, float], list[Score]] = {}
    for score in scores:
        groups.setdefault((score.policy, score.hop, score.target_return), []).append(score)
    return [_summary(group) for group in groups.values()]


SCORE_COLUMNS = tuple(field.name for field in fields(Score))


def write_scores(path: Path, scores: Iterable[Score], *, append: bool = False) -> None:
    """Write `scores.csv`: a header, then one row per episode; floats survive the round trip exactly.

    Args:
        append: keep the rows that are there.

    Raises:
        ConfigError: what is there has other columns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = read_scores(path) if append and path.exists() else []
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(SCORE_COLUMNS)
        rows.writerows(astuple(score) for score in (*kept, *scores))
    unfinished.replace(path)


def read_scores(path: Path) -> list[Score]:
    """The rows of a `scores.csv`.

    Raises:
        ConfigError: there is no such file, its columns are others, a row is broken, or it has no rows.
    """
    if not path.is_file():
        raise ConfigError(f"there are no scores at {path}")
    columns, scores = list(SCORE_COLUMNS), []
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        if (header := next(rows, None)) != columns:
            raise ConfigError(f"{path} has the columns {header}, scores have {columns}")
        try:
            for row in rows:
                scores.append(score_of(dict(zip(columns, row, strict=True))))  # noqa: PERF401 - the line is named
        except (ValueError, csv.Error) as error:
            raise ConfigError(f"{path}, line {rows.line_num}, is no row of scores: {error}") from error
    if not scores:
        raise ConfigError(f"{path} holds no episode")
    return scores


def write_traces(path: Path, results: Sequence[EpisodeResult]) -> None:
    """Write `traces.npz`: what E episodes played with `traces=True` did, end to end.

    Arrays: target_returns [E] float64, seeds and lengths [E] int64, observations [steps, *observation_shape],
    actions [steps, action_dim] float32, rewards [steps] float64; episode e has the `lengths[e]` steps after
    those of the episodes before it.
    """
    traces = [result.trace for result in results if result.trace is not None]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        target_returns=np.array([result.plan.target_return for result in results], np.float64),
        seeds=np.array([result.plan.seed for result in results], np.int64),
        lengths=np.array([result.episode_length for result in results], np.int64),
        observations=np.concatenate([trace.observations for trace in traces]),
        actions=np.concatenate([trace.actions for trace in traces]),
        rewards=np.concatenate([trace.rewards for trace in traces]),
    )


def read_traces(path: Path) -> list[tuple[EpisodePlan, Trace]]:
    """What `write_traces` wrote, episode by episode."""
    with np.load(path, allow_pickle=False) as arrays:
        cuts = np.cumsum(arrays["lengths"])[:-1]
        columns = (np.split(arrays[name], cuts) for name in ("observations", "actions", "rewards"))
        traces = [Trace(*parts) for parts in zip(*columns, strict=True)]
        targets, seeds = arrays["target_returns"].tolist(), arrays["seeds"].tolist()
    plans_played = [EpisodePlan(target, seed) for target, seed in zip(targets, seeds, strict=True)]
    return list(zip(plans_played, traces, strict=True))


def table(summaries: Iterable[ScoreSummary]) -> str:
    """The summaries as text for a terminal, one line each under a header."""
    header = ("policy", "hop", "target", "episodes", "return", "length", "normalized score")
    rows = [header, *(_cells(summary) for summary in summaries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(lines) + "\n"


def score_of(row: Mapping[str, str]) -> Score:
    """The score that a row of text, by column, stands for; other columns are left alone."""
    return Score(
        task=row["task"],
        dataset=row["dataset"],
        dataset_hash=row["dataset_hash"],
        sample_ratio=_or_none(float, row["sample_ratio"]),
        algorithm=row["algorithm"],
        preset=row["preset"],
        seed=_or_none(int, row["seed"]),
        update=_or_none(int, row["update"]),
        target_return=float(row["target_return"]),
        hop=int(row["hop"]),
        episode_seed=int(row["episode_seed"]),
        episode_return=float(row["episode_return"]),
        episode_length=int(row["episode_length"]),
        normalized_score=_or_none(float, row["normalized_score"]),
        code_version=row["code_version"],
        policy=row["policy"],
        revision=row["revision"],
    )


def _or_none(kind: Callable[[str], _Number], text: str) -> _Number | None:
    return kind(text) if text else None


def _summary(scores: Sequence[Score]) -> ScoreSummary:
    first = scores[0]
    returns = np.array([score.episode_return for score in scores])
    normalized = np.array([score.normalized_score for score in scores], np.float64)
    known = first.normalized_score is not None
    return ScoreSummary(
        policy=first.policy,
        hop=first.hop,
        target_return=first.target_return,
        episodes=len(scores),
        mean_return=float(returns.mean()),
        std_return=float(returns.std()),
        mean_length=float(np.mean([score.episode_length for score in scores])),
        mean_score=float(normalized.mean()) if known else None,
        std_score=float(normalized.std()) if known else None,
    )


def _cells(summary: ScoreSummary) -> tuple[str, ...]:
    score = (
        "-"
        if summary.mean_score is None or summary.std_score is None
        else f"{summary.mean_score:.1f} ± {summary.std_score:.1f}"
    )
    return (
        summary.policy,
        str(summary.hop),
        f"{summary.target_return:g}",
        str(summary.episodes),
        f"{summary.mean_return:.1f} ± {summary.std_return:.1f}",
        f"{summary.mean_length:.0f}",
        score,
    )
