"""The protocols make of a run's evaluations what their definitions say, row by row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lamo.errors import ConfigError
from lamo.evaluation import Score
from training.reports import protocols
from training.reports.run_scores import RunScores, runs_of

Rows = Callable[..., list[Score]]


def runs(*rows: list[Score]) -> list[RunScores]:
    return runs_of([score for group in rows for score in group])


def numbers(of: list[RunScores], protocol: protocols.Protocol) -> list[float]:
    return list(protocols.arm_scores(of, protocol, normalized=False).values)


def test_last_and_mean_over_targets_look_at_the_last_evaluation(rows: Rows) -> None:
    table = {100: {3600: [1.0, 3.0], 1800: [50.0, 50.0]}, 200: {3600: [4.0, 8.0], 1800: [3.0, 5.0]}}
    of = runs(rows(table))
    assert numbers(of, protocols.LAST) == [6]
    assert numbers(of, protocols.MEAN_OVER_TARGETS) == [5]
    assert numbers(of, protocols.PAPER) == [27], "both evaluations, at the target that is best over both"


def test_the_paper_averages_the_last_eight_evaluations_and_says_where_there_are_fewer(rows: Rows) -> None:
    many, few = (
        rows({update: {5: [float(update)]} for update in range(1, count + 1)}, seed=seed)
        for seed, count in enumerate((20, 3))
    )
    scores = protocols.arm_scores(runs(many, few), protocols.PAPER, normalized=False)
    assert list(scores.values) == [np.mean(range(13, 21)), 2]
    assert scores.evaluations == (8, 3)


def test_the_best_target_is_chosen_on_the_mean_over_seeds_not_for_each_run(rows: Rows) -> None:
    first = rows({1: {40: [10.0], 76: [0.0]}}, seed=0)
    second = rows({1: {40: [1.0], 76: [8.0]}}, seed=1)
    scores = protocols.arm_scores(runs(first, second), protocols.LAST, normalized=False)
    assert scores.target_return == 40
    assert list(scores.values) == [10, 1]


def test_only_targets_that_every_run_played_can_be_the_best(rows: Rows) -> None:
    first = rows({1: {40: [1.0], 76: [99.0]}}, seed=0)
    second = rows({1: {40: [2.0]}}, seed=1)
    assert numbers(runs(first, second), protocols.LAST) == [1, 2]
    assert numbers(runs(first, second), protocols.MEAN_OVER_TARGETS) == [50, 2]
    third = rows({1: {5: [2.0]}}, seed=2)
    with pytest.raises(ConfigError, match=r"the 3 runs of 'lamo' on hopper-medium, .* no target return in common"):
        numbers(runs(first, second, third), protocols.LAST)


def test_a_target_played_once_is_not_averaged_with_what_was_not(rows: Rows) -> None:
    of = runs(rows({1: {40: [1.0], 76: [99.0]}, 2: {40: [2.0]}}))
    assert numbers(of, protocols.LAST) == [2]
    assert numbers(of, protocols.PAPER) == [1.5]


def test_the_drop_is_from_the_best_evaluation_to_the_last(rows: Rows) -> None:
    falling = rows({1: {40: [5.0], 76: [90.0]}, 2: {40: [9.0], 76: [0.0]}, 3: {40: [6.0], 76: [1.0]}}, seed=0)
    rising = rows({1: {40: [5.0], 76: [0.0]}, 2: {40: [7.0], 76: [0.0]}}, seed=1)
    assert list(protocols.drops(runs(falling, rising), normalized=False)) == [3, 0]


def test_learning_curves_meet_where_every_run_was_evaluated(rows: Rows) -> None:
    first = rows({1: {40: [1.0], 76: [3.0]}, 2: {40: [2.0], 76: [4.0]}, 3: {40: [0.0], 76: [0.0]}}, seed=0)
    second = rows({1: {40: [5.0], 76: [5.0]}, 3: {40: [7.0], 76: [9.0]}}, seed=1)
    updates, curves = protocols.learning_curves(runs(first, second), normalized=False)
    assert list(updates) == [1, 3]
    assert curves.tolist() == [[2, 0], [5, 8]]


def test_normalized_scores_are_used_only_where_every_episode_has_one(rows: Rows) -> None:
    (known,) = runs(rows({1: {40: [1.0, 3.0]}}, normalize=10.0))
    (unknown,) = runs(rows({1: {40: [1.0, 3.0]}}))
    assert known.values(normalized=True).tolist() == [[20]]
    assert unknown.normalized is None


def test_an_algorithm_with_two_presets_is_two_arms(rows: Rows) -> None:
    both = runs(rows({1: {40: [1.0]}}, preset="paper"), rows({1: {40: [2.0]}}, preset="fixed"))
    assert [run.arm for run in both] == ["lamo (paper)", "lamo (fixed)"]


def test_a_finished_policy_played_by_itself_does_not_replace_its_runs_last_evaluation(rows: Rows) -> None:
    trained, played = rows({1: {40: [1.0]}, 2: {40: [2.0]}}), rows({None: {40: [50.0]}})
    (run,) = runs(trained, played)
    assert numbers([run], protocols.LAST) == [2]
    (alone,) = runs(rows({None: {40: [50.0]}}, seed=None))
    assert alone.seed == "hopper@0123"
    assert numbers([alone], protocols.LAST) == [50]
