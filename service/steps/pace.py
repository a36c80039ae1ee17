"""Pace: how long forward passes took lately, by what was in them, and so how long those who wait will. Pure."""

from __future__ import annotations

MEMORY = 0.9
"""What a pass counts for, one pass later: about the last ten decide."""

STEADY = 1e-6
"""Where passes were all alike, nothing tells what one more act costs, and it is taken to cost nothing."""


class Pace:
    """A pass of n acts is taken to last `a + b n`: the least squares of the last passes, `b` not below 0.

    Args:
        batch_limit: most acts in one pass.
    """

    def __init__(self, batch_limit: int) -> None:
        self._batch_limit = batch_limit
        self._weight = self._acts = self._seconds = self._acts_squared = self._product = 0.0

    def took(self, acts: int, seconds: float) -> None:
        """Learn from one pass."""
        self._weight = MEMORY * self._weight + 1
        self._acts = MEMORY * self._acts + acts
        self._seconds = MEMORY * self._seconds + seconds
        self._acts_squared = MEMORY * self._acts_squared + acts * acts
        self._product = MEMORY * self._product + acts * seconds

    def fits_one_pass(self, acts: int) -> bool:
        """Whether one pass takes so many acts."""
        return acts <= self._batch_limit

    def seconds_for(self, acts: int) -> float:
        """How long the passes for so many acts will take; 0 before the first pass."""
        full, rest = divmod(acts, self._batch_limit)
        return full * self._pass_seconds(self._batch_limit) + (self._pass_seconds(rest) if rest else 0.0)

    def _pass_seconds(self, acts: int) -> float:
        if not self._weight:
            return 0.0
        mean_acts, mean_seconds = self._acts / self._weight, self._seconds / self._weight
        variance = self._acts_squared / self._weight - mean_acts**2
        covariance = self._product / self._weight - mean_acts * mean_seconds
        slope = max(0.0, covariance / variance) if variance > STEADY else 0.0
        return max(0.0, mean_seconds + slope * (acts - mean_acts))
