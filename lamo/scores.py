"""The normalized score, and the reference returns it is measured between."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lamo.errors import ConfigError


@dataclass(frozen=True)
class ReferenceReturns:
    """Mean episode returns, raw, that a task's scores 0 and 100 stand for."""

    random: float
    expert: float

    def __post_init__(self) -> None:
        numbers = all(
            isinstance(value, int | float) and math.isfinite(value) for value in (self.random, self.expert)
        )
        if not numbers or self.random == self.expert:
            raise ConfigError(
                f"reference_returns are {self.random} and {self.expert}, they must be two different finite numbers"
            )

    def normalized_score(self, episode_return: float) -> float:
        """100 * (return - random) / (expert - random), of one episode return or of a mean of them.

        The definition is D4RL's (Fu et al. 2020, arXiv 2004.07219).
        """
        return 100.0 * (episode_return - self.random) / (self.expert - self.random)
