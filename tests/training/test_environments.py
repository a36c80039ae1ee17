"""Making environments by name, by specification, and flat."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict

from clients.simulator import make_environment as make_for_client
from lamo.errors import SimulatorError
from training.environments import make_environment

Make = Callable[[str], gymnasium.Env[Any, Any]]
SPACE = Dict(
    {"velocity": Box(-1.0, 1.0, (2,)), "joint": Dict({"b": Box(0.0, 9.0, (2, 2)), "a": Box(-1.0, 1.0, (1,))})}
)


class Parts(gymnasium.Env[Any, Any]):
    """Shows one observation of several parts."""

    observation_space = SPACE
    action_space = Box(-1.0, 1.0, (1,))

    def reset(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        corner = np.arange(4, dtype=np.float32).reshape(2, 2)
        joint = {"b": corner, "a": np.full(1, -0.5, np.float32)}
        return {"velocity": np.array([0.25, 0.75], np.float32), "joint": joint}, {}


@pytest.fixture
def parts() -> Iterator[str]:
    gymnasium.register("Parts-v0", Parts, disable_env_checker=True)
    yield "Parts-v0"
    gymnasium.registry.pop("Parts-v0")


@pytest.fixture(params=[make_environment, make_for_client], ids=["training", "clients"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def test_the_parts_of_an_observation_follow_each_other_by_name(make: Make, parts: str) -> None:
    environment = make(parts)
    observation, _ = environment.reset(seed=0)
    assert environment.observation_space.shape == (7,)
    assert observation.tolist() == [-0.5, 0.0, 1.0, 2.0, 3.0, 0.25, 0.75]


def test_a_specification_as_json_carries_arguments(make: Make) -> None:
    specification = copy.deepcopy(gymnasium.spec("Ant-v4"))
    specification.kwargs = {"use_contact_forces": True}
    specification.max_episode_steps = 3
    environment = make(specification.to_json())
    observation, _ = environment.reset(seed=0)
    steps = [environment.step(np.zeros(8, np.float32)) for _ in range(3)]
    environment.close()
    assert observation.shape == (111,)
    assert [step[3] for step in steps] == [False, False, True]


@pytest.mark.parametrize(
    "specification",
    [
        "{",
        "{}",
        json.dumps({"id": "Ant-v4", "additional_wrappers": [], "flavour": 3}),
        EnvSpec("Nowhere-v0", entry_point="training.kitchen:Pantry").to_json(),
        EnvSpec("Nowhere-v0", entry_point="no_such_module:Env").to_json(),
    ],
    ids=["torn", "empty", "unknown field", "unknown class", "unknown module"],
)
def test_a_specification_that_describes_nothing_is_refused(make: Make, specification: str) -> None:
    with pytest.raises(SimulatorError, match="cannot be made"):
        make(specification)


@pytest.mark.parametrize(
    ("name", "observation_size", "action_size"),
    [
        ("Hopper-v4", 11, 3),
        ("Walker2d-v4", 17, 6),
        ("HalfCheetah-v4", 17, 6),
        ("training.ant:AntD4RL-v0", 111, 8),
        ("training.kitchen:KitchenComplete-v0", 60, 9),
    ],
)
def test_the_paper_s_tasks_have_the_sizes_of_d4rls_files(
    make: Make, name: str, observation_size: int, action_size: int
) -> None:
    environment = make(name)
    observation, _ = environment.reset(seed=0)
    environment.close()
    assert environment.observation_space.shape == observation.shape == (observation_size,)
    assert environment.action_space.shape == (action_size,)
    assert environment.action_space.dtype == np.float32


def test_the_ant_of_d4rl_is_ant_v4_with_contact_forces_that_are_always_zero() -> None:
    ours, gymnasiums = make_environment("training.ant:AntD4RL-v0"), make_environment("Ant-v4")
    generator = np.random.default_rng(0)
    shown, expected = ours.reset(seed=5)[0], gymnasiums.reset(seed=5)[0]
    over = False
    while not over:
        assert shown[:27].tobytes() == expected.tobytes()
        assert not shown[27:].any()
        action = generator.uniform(-1.0, 1.0, 8).astype(np.float32)
        shown, *rest = ours.step(action)
        expected, *expected_rest = gymnasiums.step(action)
        assert rest == expected_rest
        over = rest[1] or rest[2]
    ours.close()
    gymnasiums.close()
