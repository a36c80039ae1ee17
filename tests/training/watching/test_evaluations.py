"""An evaluation as one number: the mean over targets, with an error over the episodes it played."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lamo.evaluation import Origin, Score, scores_of
from lamo.rollout import EpisodePlan, EpisodeResult
from lamo.scores import ReferenceReturns
from training.watching.evaluations import evaluations

REFERENCE = ReferenceReturns(random=0.0, expert=200.0)


def _scores(update: int, returns: dict[float, list[float]], hop: int = 1) -> list[Score]:
    results = [
        EpisodeResult(EpisodePlan(target, seed), value, 10, terminated=False, truncated=True, trace=None)
        for target, values in returns.items()
        for seed, value in enumerate(values)
    ]
    origin = Origin(update=update)
    return scores_of(results, task="t", policy="p", revision="", hop=hop, reference=REFERENCE, origin=origin)


def test_the_score_is_the_mean_over_targets_of_normalized_scores() -> None:
    (evaluation,) = evaluations(_scores(5, {80.0: [40.0, 80.0], 40.0: [20.0, 60.0]}))
    assert (evaluation.update, evaluation.score) == (5, 25.0)


def test_its_error_is_over_episodes_because_all_targets_meet_the_same_ones() -> None:
    (evaluation,) = evaluations(_scores(5, {80.0: [40.0, 80.0, 60.0], 40.0: [40.0, 80.0, 60.0]}))
    assert evaluation.standard_error == pytest.approx(np.std([20.0, 40.0, 30.0], ddof=1) / np.sqrt(3))
    (single,) = evaluations(_scores(5, {80.0: [40.0], 40.0: [60.0]}))
    assert single.standard_error is None


def test_hop_one_counts_where_it_was_played_and_else_the_first() -> None:
    two, one = _scores(5, {80.0: [40.0]}, hop=2), _scores(5, {80.0: [80.0]}, hop=1)
    assert [item.score for item in evaluations([*two, *one])] == [40.0]
    assert [item.score for item in evaluations(two)] == [20.0]


def test_without_reference_returns_raw_returns_count() -> None:
    raw = [dataclasses.replace(score, normalized_score=None) for score in _scores(5, {80.0: [40.0, 80.0]})]
    assert [item.score for item in evaluations(raw)] == [60.0]


def test_evaluations_come_by_update_and_policies_played_by_themselves_are_none() -> None:
    later, earlier = _scores(10, {80.0: [20.0]}), _scores(5, {80.0: [40.0]})
    alone = [dataclasses.replace(score, update=None) for score in earlier]
    assert [item.update for item in evaluations([*later, *earlier, *alone])] == [5, 10]
