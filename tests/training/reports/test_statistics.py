"""The statistics equal their obvious loops, cover what they claim to, and invent no interval."""

from __future__ import annotations

import numpy as np
import pytest

from training.reports import statistics


def test_a_quarter_is_left_out_at_either_end() -> None:
    values = np.array([100.0, 1, 2, 3, 4, 5, 6, -50])
    assert statistics.interquartile_mean(values) == np.mean([2, 3, 4, 5])
    assert statistics.interquartile_mean(np.array([1.0, 2, 6])) == 3, "three runs: none can be left out"
    assert statistics.interquartile_mean(np.array([7.0])) == 7


def test_the_interquartile_mean_of_rows_is_that_of_each_row() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4, 11))
    by_hand = [[np.mean(sorted(row)[2:9]) for row in block] for block in rows]
    np.testing.assert_allclose(statistics.interquartile_mean(rows), by_hand)


def test_the_interval_is_that_of_the_obvious_loop() -> None:
    strata = [np.array([1.0, 4.0, 2.0, 8.0]), np.array([50.0, 60.0]), np.array([10.0, 30.0, 20.0])]
    estimate = statistics.interquartile_estimate(strata, seed=0, resamples=4000)
    generator, drawn = np.random.default_rng(1), []
    for _ in range(4000):
        pooled = [value for stratum in strata for value in generator.choice(stratum, len(stratum))]
        drawn.append(np.mean(sorted(pooled)[2:7]))
    assert estimate.value == np.mean([4, 8, 10, 20, 30])
    assert estimate.runs == 9
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), rel=0.08)


def test_runs_are_drawn_within_their_stratum() -> None:
    strata = [np.array([0.0, 0.0, 0.0, 0.0]), np.array([8.0, 8.0, 8.0, 8.0])]
    estimate = statistics.interquartile_estimate(strata)
    assert (estimate.low, estimate.value, estimate.high) == (4, 4, 4)


def test_the_same_seed_gives_the_same_interval() -> None:
    strata = [np.random.default_rng(0).normal(size=20)]
    assert statistics.interquartile_estimate(strata, seed=3) == statistics.interquartile_estimate(strata, seed=3)
    assert statistics.interquartile_estimate(strata, seed=3) != statistics.interquartile_estimate(strata, seed=4)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator, covered, tries = np.random.default_rng(0), 0, 300
    for _ in range(tries):
        strata = [generator.normal(loc=5.0, size=10) for _ in range(4)]
        estimate = statistics.interquartile_estimate(strata, resamples=400)
        covered += estimate.low is not None and estimate.high is not None and estimate.low < 5 < estimate.high
    assert 0.88 < covered / tries < 0.99


def test_a_single_run_has_no_interval_and_no_deviation() -> None:
    several, one = np.array([1.0, 2.0, 3.0]), np.array([2.0])
    for strata in ([one], [several, one]):
        estimate = statistics.interquartile_estimate(strata)
        assert (estimate.low, estimate.high) == (None, None)
    better = statistics.probability_of_improvement([(several, one)])
    assert (better.value, better.low, better.high) == (0.5, None, None)
    assert statistics.interquartile_band(np.array([[1.0, 2.0]])) is None
    assert statistics.sample_deviation(one) is None
    assert statistics.sample_deviation(several) == 1


def test_the_win_rate_counts_pairs_and_halves_ties() -> None:
    ours, theirs = np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0])
    wins = sum((x > y) + 0.5 * (x == y) for x in ours for y in theirs)
    assert statistics.win_rate(ours, theirs) == wins / 6
    assert statistics.win_rate(ours, ours) == 0.5


def test_the_probability_of_improvement_is_a_mean_over_strata() -> None:
    wins = (np.array([5.0, 6.0]), np.array([1.0, 2.0]))
    loses = (np.array([1.0, 2.0, 3.0, 4.0]), np.array([9.0, 9.0]))
    estimate = statistics.probability_of_improvement([wins, loses])
    assert (estimate.low, estimate.value, estimate.high) == (0.5, 0.5, 0.5)


def test_the_interval_of_the_probability_is_that_of_the_obvious_loop() -> None:
    generator = np.random.default_rng(2)
    pairs = [(generator.normal(0.5, size=4), generator.normal(size=3)) for _ in range(2)]
    estimate = statistics.probability_of_improvement(pairs)
    drawn = []
    for _ in range(2000):
        rates = []
        for ours, theirs in pairs:
            x, y = generator.choice(ours, len(ours)), generator.choice(theirs, len(theirs))
            rates.append(np.mean([[float(a > b) + 0.5 * float(a == b) for b in y] for a in x]))
        drawn.append(np.mean(rates))
    assert (estimate.low, estimate.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.05)


def test_a_band_is_the_interval_of_every_point() -> None:
    curves = np.random.default_rng(0).normal(size=(20, 3)) + np.array([0.0, 10.0, 20.0])
    band = statistics.interquartile_band(curves)
    assert band is not None
    middle, low, high = band
    for point in range(3):
        alone = statistics.interquartile_estimate([curves[:, point]])
        assert middle[point] == pytest.approx(alone.value)
        assert (low[point], high[point]) == pytest.approx((alone.low, alone.high), abs=0.1)
