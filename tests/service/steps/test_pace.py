"""How long those who wait will wait, as the last passes tell."""

from __future__ import annotations

import pytest

from service.steps.pace import Pace


def test_nothing_is_known_before_the_first_pass():
    assert Pace(8).seconds_for(100) == 0


def test_passes_of_one_tell_what_one_costs_and_a_burst_is_taken_to_cost_no_more():
    pace = Pace(8)
    for _ in range(5):
        pace.took(1, 0.01)
    assert pace.seconds_for(8) == pytest.approx(0.01)
    assert pace.seconds_for(17) == pytest.approx(0.03)


def test_passes_of_several_sizes_tell_what_each_act_adds():
    pace = Pace(8)
    for acts in (1, 8, 3, 5):
        pace.took(acts, 0.004 + 0.002 * acts)
    assert pace.seconds_for(2) == pytest.approx(0.008)
    assert pace.seconds_for(8 + 8 + 1) == pytest.approx(2 * 0.020 + 0.006)


def test_the_last_passes_count_most():
    pace = Pace(8)
    for seconds in [1.0] * 50 + [0.1] * 50:
        pace.took(8, seconds)
    assert pace.seconds_for(8) == pytest.approx(0.1, rel=0.1)


def test_larger_passes_that_happened_to_be_faster_do_not_make_many_acts_free():
    pace = Pace(8)
    pace.took(1, 0.02)
    pace.took(8, 0.01)
    assert pace.seconds_for(8) >= 0.01
