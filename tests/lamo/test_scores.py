"""Reference returns and normalized scores."""

from __future__ import annotations

import pytest

from lamo.errors import ConfigError
from lamo.scores import ReferenceReturns


def test_random_return_scores_0_and_expert_return_100() -> None:
    reference = ReferenceReturns(random=-20.272305, expert=3234.3)
    assert reference.normalized_score(-20.272305) == 0.0
    assert reference.normalized_score(3234.3) == 100.0
    assert reference.normalized_score(1556.2390200390082) == pytest.approx(48.43989247425886), "D4RL's score"


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_returns_that_span_nothing_are_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="two different finite numbers"):
        ReferenceReturns(low, high)
