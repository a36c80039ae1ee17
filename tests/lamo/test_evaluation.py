"""An evaluation's episodes follow from its seed, and its files hold what was played, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamo import evaluation
from lamo.errors import ConfigError
from lamo.rollout import EpisodeResult, Trace
from lamo.scores import ReferenceReturns


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
    origin = evaluation.Origin("d4rl:x", "ab", 0.1, "lamo", "fixed", 3, 2500, "1.0")
    written = []
    for reference, known in ((ReferenceReturns(-20.0, 3234.3), None), (None, origin)):
        scores = evaluation.scores_of(
            results(), task="x", policy="p", revision="abc", hop=2, reference=reference, origin=known
        )
        assert (scores[0].normalized_score is None) == (reference is None)
        assert (scores[0].seed, scores[0].update) == ((None, None) if known is None else (3, 2500))
        evaluation.write_scores(tmp_path / "scores.csv", scores, append=True)
        written += scores
        assert evaluation.read_scores(tmp_path / "scores.csv") == written


def test_scores_have_the_columns_of_every_report() -> None:
    assert (
        *("task", "dataset", "dataset_hash", "sample_ratio", "algorithm", "preset", "seed", "update"),
        *("target_return", "hop", "episode_seed", "episode_return", "episode_length", "normalized_score"),
        *("code_version", "policy", "revision"),
    ) == evaluation.SCORE_COLUMNS


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
    scores = evaluation.scores_of(
        results(), task="x", policy="p", revision="abc", hop=1, reference=ReferenceReturns(0, 100)
    )
    first, second = evaluation.summarize(scores)
    assert (first.target_return, second.target_return, first.episodes) == (30.0, 0.1, 3)
    assert first.mean_return == pytest.approx(np.mean([score.episode_return for score in scores[:3]]))
    assert first.mean_score == pytest.approx(first.mean_return), "Reacher2d's score is its return"
    text = evaluation.table([first, second])
    assert "30" in text
    assert f"{first.mean_return:.1f} ± {first.std_return:.1f}" in text
