"""The meter counts what is training and nothing else."""

from __future__ import annotations

import psutil
import pytest
import torch

from training.learning.meter import Meter


class Clock:
    """Shows what it is set to."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_updates_are_counted_per_second_of_training() -> None:
    clock = Clock()
    meter = Meter(torch.device("cpu"), clock)
    for _ in range(6):
        meter.count()
        clock.seconds += 0.5
    with meter.standing_still():
        clock.seconds += 1000
    assert meter.read().updates_per_second == pytest.approx(2.0)
    assert meter.read().updates_per_second is None
    meter.count()
    clock.seconds += 4
    assert meter.read().updates_per_second == pytest.approx(0.25)


def test_peak_memory_is_in_bytes_and_at_least_what_is_held_now() -> None:
    peak = Meter(torch.device("cpu")).read().peak_memory_bytes
    held = psutil.Process().memory_info().rss
    assert 0.9 * held < peak < 100 * held  # the two are counted by different parts of the system
