"""Report: one self-contained HTML page of what a trained policy scores, and against what.

It puts an evaluation (of the served policy or in process) beside the two arms that tell what it is worth: the
behavior policy whose episodes it learned from, and a policy that acts at random on the same episodes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from lamo.evaluation import Score, read_scores, read_traces
from lamo.rollout import EpisodePlan, Trace
from lamo.scores import ReferenceReturns
from training.learning.config import TrainConfig
from training.learning.offline_data import OfflineData
from training.reports import figures
from training.reports.baselines import random_returns
from training.reports.watched import watched
from training.runs.run_folder import RunFolder
from training.tasks.task import Task
from training.watching.action_error import HEADER, read_action_error

BEHAVIOR, RANDOM = "behavior policy", "random policy"


@dataclass(frozen=True)
class Arm:
    """The episodes of one policy under one target return; the target is None for policies that take none."""

    name: str
    target_return: float | None
    returns: NDArray[np.float64]  # [episodes]
    lengths: NDArray[np.int64]  # [episodes]

    @property
    def title(self) -> str:
        """How figures name it."""
        return self.name if self.target_return is None else f"{self.name}, target {self.target_return:g}"

    @property
    def mean(self) -> float:
        """Mean episode return."""
        return float(self.returns.mean())

    @property
    def standard_error(self) -> float:
        """Of the mean, over episodes."""
        return float(self.returns.std(ddof=1) / np.sqrt(len(self.returns))) if len(self.returns) > 1 else 0.0


@dataclass(frozen=True)
class Verdict:
    """Whether the best target reaches the behavior policy, in a sentence."""

    reached: bool
    sentence: str


def write(folder: RunFolder, evaluation: Path | None, out: Path) -> None:
    """Write the report of a run and an evaluation of its policy.

    Args:
        evaluation: None for a run that nobody has played, such as that of a robot without a simulator.

    Raises:
        ConfigError: a folder lacks what is reported, or they are of different tasks.
    """
    config = folder.config()
    page = _template().render(
        task=config.task.name,
        run=folder.name,
        played=None if evaluation is None else _played(config, evaluation),
        watched=watched(folder.path),
        action_error=read_action_error(folder.checkpoint),
        action_error_header=HEADER,
        learning=_learning(folder),
        facts=_facts(folder),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")


def _played(config: TrainConfig, evaluation: Path) -> dict[str, Any]:
    """What the page says about an evaluation."""
    scores = read_scores(evaluation / "scores.csv")
    if other := {score.task for score in scores} - {config.task.name}:
        raise ConfigError(f"{evaluation} evaluates task {other.pop()!r}, the run trained {config.task.name!r}")
    arms = [*_policy_arms(config.arm, scores), _behavior_arm(config), _random_arm(config.task, scores)]
    traces = evaluation / "traces.npz"
    drawn = config.task.name == "reacher2d" and traces.exists()
    return {
        "policy": f"{scores[0].policy}@{scores[0].revision}",
        "lead": _lead(arms, scores),
        "verdict": verdict(arms),
        "rows": [_row(arm, config.task.reference_returns) for arm in arms],
        "score_note": _score_note(config.task.reference_returns),
        "distributions": figures.return_distributions({arm.title: arm.returns for arm in arms}),
        "episode": _episode(read_traces(traces), arms) if drawn else None,
    }


def verdict(arms: Sequence[Arm]) -> Verdict:
    """Whether the best target's mean is within the behavior policy's standard error of its mean, or better."""
    best = _best(arms)
    behavior = next(arm for arm in arms if arm.name == BEHAVIOR)
    reached = best.mean >= behavior.mean - behavior.standard_error
    outcome = "reaches" if reached else "does not reach"
    return Verdict(
        reached,
        f"At its best target ({best.target_return:g}) the policy earns {best.mean:.1f} ± {best.standard_error:.1f} "
        f"(mean ± standard error). It {outcome} the behavior policy's {behavior.mean:.1f} ± "
        f"{behavior.standard_error:.1f} to within one standard error.",
    )


def _best(arms: Sequence[Arm]) -> Arm:
    return max((arm for arm in arms if arm.target_return is not None), key=lambda arm: arm.mean)


def _policy_arms(name: str, scores: Sequence[Score]) -> list[Arm]:
    targets = dict.fromkeys(score.target_return for score in scores)
    return [_arm(name, target, [score for score in scores if score.target_return == target]) for target in targets]


def _arm(name: str, target: float, scores: Sequence[Score]) -> Arm:
    returns = np.array([score.episode_return for score in scores], np.float64)
    return Arm(name, target, returns, np.array([score.episode_length for score in scores], np.int64))


def _behavior_arm(config: TrainConfig) -> Arm:
    trajectories = OfflineData.read(config).trained
    return Arm(BEHAVIOR, None, trajectories.episode_returns, trajectories.lengths)


def _random_arm(task: Task, scores: Sequence[Score]) -> Arm:
    seeds = list(dict.fromkeys(score.episode_seed for score in scores))
    return Arm(RANDOM, None, *random_returns(task, seeds))


def _lead(arms: Sequence[Arm], scores: Sequence[Score]) -> str:
    targets = [arm for arm in arms if arm.target_return is not None]
    return (
        f"{len(scores)} episodes, {len(targets[0].returns)} for each target return, window hop {scores[0].hop}. "
        f"Best target {_best(arms).mean:.1f}, mean over targets {np.mean([arm.mean for arm in targets]):.1f}."
    )


def _row(arm: Arm, reference: ReferenceReturns | None) -> dict[str, str]:
    known = reference is not None
    normalized = np.array([] if reference is None else [reference.normalized_score(item) for item in arm.returns])
    return {
        "arm": arm.name,
        "target": "–" if arm.target_return is None else f"{arm.target_return:g}",
        "episodes": str(len(arm.returns)),
        "returned": f"{arm.mean:.1f} ± {arm.returns.std():.1f}",
        "error": f"{arm.standard_error:.1f}",
        "length": f"{arm.lengths.mean():.0f}",
        "score": f"{normalized.mean():.1f} ± {normalized.std():.1f}" if known else "–",
    }


def _score_note(reference: ReferenceReturns | None) -> str:
    if reference is None:
        return "This task has no reference returns, so there is no normalized score."
    return (
        f"Normalized score: 100 × (return − {reference.random:g}) / ({reference.expert:g} − {reference.random:g}). "
        "The behavior policy is measured on the episodes that were trained on; "
        "the random policy plays the evaluation's own episodes."
    )


def _learning(folder: RunFolder) -> list[dict[str, str]]:
    metrics = _columns(folder.metrics, ("update", "action_loss", "language_loss"))
    losses = {"action loss": (metrics["update"], metrics["action_loss"])}
    drawn = [
        {
            "svg": figures.curve(losses, ylabel="mean squared error", logarithmic=True),
            "caption": "Action loss on the batches trained on.",
        }
    ]
    if np.isfinite(metrics["language_loss"]).any():
        words = {"language loss": (metrics["update"], metrics["language_loss"])}
        caption = "Auxiliary language loss: what keeps the trunk a language model."
        drawn.append({"svg": figures.curve(words, ylabel="nats per token"), "caption": caption})
    if returns := _evaluated_returns(folder):
        caption = "In-process evaluations during training, mean over episodes."
        drawn.append({"svg": figures.curve(returns, ylabel="episode return"), "caption": caption})
    return drawn


def _evaluated_returns(folder: RunFolder) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    if not folder.scores.exists():
        return {}
    table = _columns(folder.scores, ("update", "hop", "target_return", "episode_return"))
    series = {}
    for hop, target in dict.fromkeys(zip(table["hop"], table["target_return"], strict=True)):
        chosen = (table["hop"] == hop) & (table["target_return"] == target)
        updates = np.unique(table["update"][chosen])
        means = [table["episode_return"][chosen & (table["update"] == update)].mean() for update in updates]
        series[f"target {target:g}, hop {hop:g}"] = (updates, np.array(means))
    return series


def _columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Numeric columns of a CSV file; an empty cell is NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in names}


def _episode(traces: Sequence[tuple[EpisodePlan, Trace]], arms: Sequence[Arm]) -> dict[str, str]:
    """The episode of median return at the best target: neither the luckiest nor the worst."""
    best = _best(arms)
    candidates = [(plan, trace) for plan, trace in traces if plan.target_return == best.target_return]
    plan, trace = sorted(candidates, key=lambda candidate: candidate[1].rewards.sum())[len(candidates) // 2]
    return {
        "svg": figures.reacher_episode(trace.observations, trace.rewards),
        "caption": f"The episode of median return at target {best.target_return:g}: "
        f"seed {plan.seed}, return {trace.rewards.sum():g}.",
    }


def _facts(folder: RunFolder) -> Mapping[str, Any]:
    config = folder.config().to_json()
    identity = json.loads((folder.path / "data.json").read_text(encoding="utf-8"))
    shown = {name: value for name, value in {**config, **identity}.items() if value not in (None, [], {}, "")}
    return {name.replace("_", " "): _short(value) for name, value in shown.items()}


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else f"{text[:100]} … ({len(text)} characters)"


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("training.reports"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html")
