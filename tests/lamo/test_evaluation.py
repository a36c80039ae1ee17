"""An evaluation's episodes follow from its seed, and its files hold what was played, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamo import evaluation
from lamo.errors import ConfigError
from lamo.rollout import EpisodeResult, Trace


def results() -> list[EpisodeResult]:
    generator = np.random.default_rng(0)
    played = []
    for index, plan in enumerate(evaluation.plans((30.0, 0.1), episodes=3, seed=7)):
        length = 2 + index
        rewards = generator.normal(size=length)
        trace = Trace(
            generator.normal(size=(length, 5)).astype(np.float32),
            generator.normal(size=(length, 2)).astype(np.float32),
            rewards,
        )
        played.append(EpisodeResult(plan, float(rewards.sum()), length, index % 2 == 0, index % 2 == 1, trace))
    return played


def test_every_target_meets_the_same_episodes_and_more_episodes_only_add() -> None:
    few, many = evaluation.plans((2.0, 1.0), 3, seed=5), evaluation.plans((2.0, 1.0), 4, seed=5)
    assert [plan.seed for plan in few[:3]] == [plan.seed for plan in few[3:]]
    assert [plan.target_return for plan in few] == [2.0] * 3 + [1.0] * 3
    assert many[:3] == few[:3]
    assert evaluation.episode_seeds(6, 3) != evaluation.episode_seeds(5, 3)
    with pytest.raises(ConfigError, match="0 episodes"):
        evaluation.episode_seeds(0, 0)


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    for task in ("hopper", "somebody's own"):
        scores = evaluation.scores_of(results(), task=task, policy="p", revision="abc", hop=2)
        assert (scores[0].normalized_score is None) == (task != "hopper")
        evaluation.write_scores(tmp_path / "scores.csv", scores)
        assert evaluation.read_scores(tmp_path / "scores.csv") == scores


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "no scores at"), ("a,b\n1,2\n", "has the columns"), ("", "has the columns None")],
)
def test_a_file_that_holds_no_scores_is_refused(tmp_path: Path, content: str | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "scores.csv").write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        evaluation.read_scores(tmp_path / "scores.csv")


def test_a_file_without_episodes_is_refused(tmp_path: Path) -> None:
    evaluation.write_scores(tmp_path / "scores.csv", [])
    with pytest.raises(ConfigError, match="holds no episode"):
        evaluation.read_scores(tmp_path / "scores.csv")


def test_traces_are_read_bit_for_bit(tmp_path: Path) -> None:
    played = results()
    evaluation.write_traces(tmp_path / "traces.npz", played)
    for result, (plan, trace) in zip(played, evaluation.read_traces(tmp_path / "traces.npz"), strict=True):
        assert plan == result.plan
        assert result.trace is not None
        for name in ("observations", "actions", "rewards"):
            assert getattr(trace, name).tobytes() == getattr(result.trace, name).tobytes(), name


def test_a_summary_is_the_mean_over_a_targets_episodes() -> None:
    scores = evaluation.scores_of(results(), task="reacher2d", policy="p", revision="abc", hop=1)
    first, second = evaluation.summarize(scores)
    assert (first.target_return, second.target_return, first.episodes) == (30.0, 0.1, 3)
    assert first.mean_return == pytest.approx(np.mean([score.episode_return for score in scores[:3]]))
    assert first.mean_score == pytest.approx(first.mean_return), "Reacher2d's score is its return"
    text = evaluation.table([first, second])
    assert "30" in text
    assert f"{first.mean_return:.1f} ± {first.std_return:.1f}" in text
