"""Signatures are named where made-up runs show them, and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from training.watching.evaluations import Evaluation
from training.watching.signatures import DEFINITIONS, Signature, errors_by_chance, signatures
from training.watching.watch import Watch


def run(
    *,
    training: Sequence[float] = (1.0, 0.4, 0.2, 0.1),
    held_out: Sequence[float | None] = (1.0, 0.45, 0.3, 0.28),
    language: Sequence[float | None] = (3.5, 3.6, 3.7, 3.75),
    norm: Sequence[float | None] = (0.0, 0.01, 0.02, 0.03),
) -> list[Watch]:
    """Looks at updates 0, 100, 200, ...; left alone it is a healthy run."""
    return [
        Watch(100 * index, *values, None, None, 10.0, 1000, 5)
        for index, values in enumerate(zip(training, held_out, language, norm, strict=True))
    ]


def played(*scores: float, error: float | None = 1.0) -> list[Evaluation]:
    return [Evaluation(100 * (index + 1), score, error) for index, score in enumerate(scores)]


def names(found: Sequence[Signature]) -> list[str]:
    return [signature.name for signature in found]


def test_a_healthy_run_shows_none() -> None:
    assert signatures(run(), played(10, 20, 30, 29.5)) == []


def test_a_run_that_was_never_watched_or_played_shows_none() -> None:
    assert signatures([], []) == []
    assert signatures(run()[:1], played(10)) == []


def test_overfitting_is_a_held_out_loss_that_rises_while_the_training_loss_falls() -> None:
    (found,) = signatures(run(held_out=(1.0, 0.4, 0.5, 0.6)), [])
    assert found.name == "overfitting"
    assert found.sentence == (
        "From update 100 to 300 the held-out action loss rose from 0.4 to 0.6 (+50%), while on the training "
        "trajectories it fell from 0.4 to 0.1."
    )
    assert found.definition == DEFINITIONS["overfitting"]


@pytest.mark.parametrize(
    "history",
    [
        {"held_out": (1.0, 0.4, 0.41, 0.43)},  # wavers
        {"held_out": (1.0, 0.4, 0.8, 0.41)},  # came back
        {"held_out": (1.0, 0.4, 0.5, 0.6), "training": (1.0, 0.4, 0.5, 0.6)},  # diverges on both
        {"held_out": (None, None, None, None)},
    ],
)
def test_it_is_no_overfitting_otherwise(history: dict[str, Sequence[float]]) -> None:
    assert signatures(run(**history), []) == []


def test_forgetting_is_a_language_loss_above_that_before_training() -> None:
    (found,) = signatures(run(language=(3.5, 3.4, 4.0, 4.25)), [])
    assert found.name == "forgetting"
    assert found.sentence == (
        "After 300 updates the trunk predicts held-out text at 4.25 nats per token, 0.75 more than the 3.50 it "
        "began with."
    )


def test_a_language_loss_that_fell_back_or_has_no_beginning_is_no_forgetting() -> None:
    assert signatures(run(language=(3.5, 4.5, 4.0, 3.6)), []) == []
    assert signatures(run(language=(3.5, 4.5, 4.6, 4.7))[1:], []) == []
    assert signatures(run(language=(None, None, None, None)), []) == []


def test_insufficient_adaptation_is_a_trunk_and_a_loss_that_stayed_where_they_were() -> None:
    still = {"norm": (0.0, 1e-5, 2e-5, 3e-5), "training": (1.0, 0.99, 0.98, 0.97)}
    (found,) = signatures(run(held_out=(1.0, 0.99, 0.98, 0.97), **still), [])
    assert found.name == "insufficient adaptation"
    assert found.sentence == (
        "After 300 updates the trunk has moved by 0.00% of its weights' norm, and the held-out action loss is "
        "0.97, 97% of the 1 it began with."
    )
    (unseen,) = signatures(run(held_out=(None,) * 4, **still), [])
    assert "the training action loss is 0.97" in unseen.sentence


@pytest.mark.parametrize(
    "history",
    [
        {"norm": (0.0, 0.0, 0.0, 0.0)},  # a frozen trunk around which embeddings learn
        {"held_out": (1.0, 0.99, 0.98, 0.97)},  # a trunk that moves in vain
        {"held_out": (1.0, 0.99, 0.98, 0.97), "norm": (None,) * 4},  # behavior cloning
    ],
)
def test_either_alone_is_no_insufficient_adaptation(history: dict[str, Sequence[float]]) -> None:
    assert signatures(run(**history), []) == []


def test_collapse_is_a_drop_from_the_best_score_beyond_its_error() -> None:
    (found,) = signatures(run(), played(10, 40, 30))
    assert found.name == "collapse"
    assert found.sentence == (
        "The score fell from 40.0 at update 200 to 30.0 at 300: by 10.0, with a standard error of 1.4."
    )


def test_a_drop_within_its_error_or_without_one_is_no_collapse() -> None:
    assert signatures(run(), played(10, 40, 39)) == []
    assert signatures(run(), played(10, 40, 30, error=8.0)) == []
    assert signatures(run(), played(10, 40, 30, error=None)) == []


def test_a_run_whose_scores_only_waver_is_rarely_called_collapsed() -> None:
    generator = np.random.default_rng(0)
    for count in (2, 10, 40):
        called = [names(signatures([], played(*generator.normal(size=count)))) for _ in range(1000)]
        assert sum(map(len, called)) <= 65  # one in twenty, and chance
    assert errors_by_chance(40) == pytest.approx(3.02, abs=0.01)


def test_several_show_at_once() -> None:
    found = signatures(run(held_out=(1.0, 0.4, 0.5, 0.6), language=(3.5, 4.0, 4.5, 5.0)), played(90, 10))
    assert names(found) == ["overfitting", "forgetting", "collapse"]
