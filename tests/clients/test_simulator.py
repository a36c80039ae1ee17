import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from clients.simulator import make_environment, simulator
from lamo.errors import SimulatorError
from lamo.wire import PolicyInfo


class Still(gymnasium.Env):
    """Spaces and nothing else."""

    def __init__(self, observation, action):
        self.observation_space = observation
        self.action_space = action


@pytest.fixture
def policy(service):
    return PolicyInfo.model_validate(service.policy)


@pytest.fixture
def registered():
    def register(observation, action):
        gymnasium.register("Still-v0", lambda: Still(observation, action), disable_env_checker=True)
        return "Still-v0"

    yield register
    gymnasium.registry.pop("Still-v0", None)


def box(*shape, bound=1.0):
    return Box(-bound, bound, shape, np.float32)


@pytest.mark.parametrize(
    ("observation", "action", "sentence"),
    [
        (box(4), box(2), "'Still-v0' emits observations of shape [4], policy 'drift' takes shape [3]"),
        (Discrete(3), box(2), "'Still-v0' emits observations in Discrete(3), policy 'drift' takes shape [3]"),
        (box(3), box(2, 1), "'Still-v0' takes actions of shape [2, 1], policy 'drift' answers shape [2]"),
        (box(3), Discrete(2), "'Still-v0' takes actions in Discrete(2), policy 'drift' answers shape [2]"),
        (
            box(3),
            box(2, bound=0.5),
            "'Still-v0' takes actions from [-0.5, -0.5] to [0.5, 0.5], "
            "policy 'drift' answers from [-1.0, -1.0] to [1.0, 1.0]",
        ),
    ],
)
def test_spaces_that_do_not_fit_are_refused_with_both(registered, policy, observation, action, sentence):
    with pytest.raises(SimulatorError) as refused:
        simulator(registered(observation, action), policy)
    assert sentence in str(refused.value)


def test_wider_action_bounds_fit(registered, policy):
    make = simulator(registered(box(3), box(2, bound=2.0)), policy)
    assert make() is not make()


@pytest.mark.parametrize(
    ("environment_id", "sentence"),
    [
        ("Nowhere-v0", "environment 'Nowhere-v0' cannot be made: Environment `Nowhere` doesn't exist"),
        ("no_such_module:Env-v0", "cannot be made: No module named 'no_such_module'"),
        ("json:Env-v0", "environment 'json:Env-v0' cannot be made: Environment `Env` doesn't exist"),
        ("CartPole-v99", "Environment version `v99` for environment `CartPole` doesn't exist"),
        ("not an id", "cannot be made: Malformed environment ID"),
    ],
)
def test_an_environment_that_cannot_be_made_is_named(environment_id, sentence):
    with pytest.raises(SimulatorError) as refused:
        make_environment(environment_id)
    assert sentence in str(refused.value)


def test_the_papers_older_environments_are_made_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_environment("CartPole-v0").close()
        make_environment("Hopper-v4").close()
