"""Reference returns and normalized scores."""

import pytest

from lamo.errors import ConfigError
from lamo.scores import REFERENCE_RETURNS, normalized_score


@pytest.mark.parametrize("task", REFERENCE_RETURNS)
def test_random_return_scores_0_and_expert_return_100(task: str) -> None:
    reference = REFERENCE_RETURNS[task]
    assert normalized_score(task, reference.random) == 0.0
    assert normalized_score(task, reference.expert) == 100.0


def test_scores_are_d4rls() -> None:
    assert normalized_score("hopper", 1556.2390200390082) == pytest.approx(48.43989247425886)
    assert normalized_score("walker2d", 3383.65460626703) == pytest.approx(73.67170516381518)
    assert normalized_score("halfcheetah", 5504.008506399103) == pytest.approx(46.589642254020134)


def test_reacher2d_scores_its_return() -> None:
    assert normalized_score("reacher2d", 36.0) == 36.0


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'ant'; known tasks: reacher2d, hopper, walker2d, halfcheetah"):
        normalized_score("ant", 1.0)
