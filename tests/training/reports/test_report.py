"""A report says what the numbers say, stands alone, and draws the arm where the simulator had it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lamo import evaluation
from lamo.errors import ConfigError
from lamo.rollout import EpisodeResult, Trace
from lamo.scores import ReferenceReturns
from training.data import hdf5
from training.data.recording import record_episodes
from training.learning.config import TrainConfig
from training.reports import figures, report
from training.reports.baselines import random_returns
from training.runs.run_folder import RunFolder
from training.tasks.task import read_task


def arm(name: str, target: float | None, returns: list[float]) -> report.Arm:
    return report.Arm(name, target, np.array(returns), np.full(len(returns), 100))


@pytest.mark.parametrize(("best", "reached"), [([50.0, 60.0], True), ([29.5, 29.5], True), ([28.0, 28.0], False)])
def test_the_verdict_compares_the_best_target_with_the_behavior_policy(best: list[float], reached: bool) -> None:
    arms = [
        arm("LaMo", 40.0, [1.0, 2.0]),
        arm("LaMo", 76.0, best),
        arm(report.BEHAVIOR, None, [29.0, 31.0]),  # mean 30, standard error 1
        arm(report.RANDOM, None, [99.0, 99.0]),
    ]
    verdict = report.verdict(arms)
    assert verdict.reached is reached
    assert "best target (76)" in verdict.sentence
    assert f"{np.mean(best):.1f}" in verdict.sentence
    assert "30.0 ± 1.0" in verdict.sentence
    assert ("does not reach" in verdict.sentence) is not reached


def test_the_arm_is_drawn_where_the_simulator_had_it() -> None:
    trajectory = record_episodes([3])[0]
    joints = figures.arm_positions(trajectory.observations)
    np.testing.assert_allclose(joints[:, 2], trajectory.observations[:, 6:8], atol=1e-5)
    assert np.allclose(np.linalg.norm(joints[:, 1], axis=1), 0.6)
    assert (joints[:, 0] == 0).all()


def test_the_random_policy_plays_the_episodes_it_is_given() -> None:
    task = read_task("reacher2d").task
    returns, lengths = random_returns(task, [1, 2, 3])
    again, _ = random_returns(task, [3, 1])
    assert lengths.tolist() == [100, 100, 100]
    assert [returns[2], returns[0]] == again.tolist()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A training run as it is left on disk, of a few updates."""
    dataset = tmp_path / "data.hdf5"
    hdf5.write(dataset, record_episodes([1, 2, 3]), {})
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = TrainConfig.of(
        "reacher2d", dataset=str(dataset), hold_out=0.34, language_loss_weight=0.1, label="my arm"
    )
    (folder.path / "config.json").write_text(json.dumps(config.to_json()))
    (folder.path / "data.json").write_text(json.dumps({"dataset_sha256": "abc"}))
    rows = [f"{update},{1 / update},{5 - update / 100},0.1,0.001" for update in range(1, 120)]
    folder.metrics.write_text("\n".join(["update,action_loss,language_loss,gradient_norm,learning_rate", *rows]))
    for update in (60, 119):
        scores = evaluation.scores_of(
            *(played(),),
            task="reacher2d",
            policy="run",
            revision="",
            hop=1,
            reference=config.task.reference_returns,
            origin=evaluation.Origin(update=update),
        )
        evaluation.write_scores(folder.scores, scores, append=True)
    return folder


def played() -> list[EpisodeResult]:
    results = []
    for plan in evaluation.plans((76.0, 40.0), 2, seed=0):
        trajectory = record_episodes([plan.seed])[0]
        trace = Trace(trajectory.observations, trajectory.actions, trajectory.rewards)
        results.append(EpisodeResult(plan, trajectory.episode_return, len(trajectory), False, True, trace))
    return results


def write_evaluation(folder: Path, task: str) -> None:
    scores = evaluation.scores_of(
        played(), task=task, policy="arm", revision="0123456789ab", hop=1, reference=ReferenceReturns(0, 100)
    )
    evaluation.write_scores(folder / "scores.csv", scores)
    evaluation.write_traces(folder / "traces.npz", played())


def test_a_report_is_one_page_that_needs_nothing_else(run: RunFolder, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "evaluation", "reacher2d")
    report.write(run, tmp_path / "evaluation", tmp_path / "out" / "report.html")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 5, "distributions, two losses, evaluated returns, one episode"
    outside = [url for url in re.findall(r'(?:src|href)="([^"#]+)"', page) if not url.startswith("data:")]
    assert outside == []
    assert "arm@0123456789ab" in page
    mean = np.mean([result.episode_return for result in played()[:2]])
    assert f"{mean:.1f}" in page
    assert "behavior policy" in page
    assert "random policy" in page
    assert page.count("<td>my arm</td>") == 2, "one for each target, whatever was trained"


def test_an_evaluation_of_another_task_is_refused(run: RunFolder, tmp_path: Path) -> None:
    write_evaluation(tmp_path / "evaluation", "hopper")
    with pytest.raises(ConfigError, match="evaluates task 'hopper', the run trained 'reacher2d'"):
        report.write(run, tmp_path / "evaluation", tmp_path / "report.html")


def test_the_behavior_policy_is_measured_on_the_trajectories_that_were_trained_on(
    run: RunFolder, tmp_path: Path
) -> None:
    config = dataclasses.replace(run.config(), sample_ratio=0.34)
    (run.path / "config.json").write_text(json.dumps(config.to_json()))
    write_evaluation(tmp_path / "evaluation", "reacher2d")
    report.write(run, tmp_path / "evaluation", tmp_path / "report.html")
    assert "<td>behavior policy</td><td>–</td><td>1</td>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_scores_or_without_a_run_is_named(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no scores at"):
        report.write(run, tmp_path / "nowhere", tmp_path / "report.html")
    with pytest.raises(ConfigError, match="holds no training run"):
        report.write(RunFolder(tmp_path / "nowhere"), tmp_path, tmp_path / "report.html")
