"""Minari sets that the tests record themselves: flattening, ends of episodes, environments, and the way back."""

import hashlib
import json
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from lamo.errors import ConfigError, DatasetError
from training.data import commands as data
from training.data import minari_sets, sources
from training.data.conversion import convert
from training.data.trajectories import Trajectories
from training.environments import make_environment


class Reach(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Six numbers in a dict whose keys are not in the alphabet's order; it ends by itself."""

    observation_space = spaces.Dict(
        OrderedDict(
            position=spaces.Box(-1, 1, (3,), np.float32),
            goal=spaces.Dict({"z": spaces.Box(-1, 1, (), np.float64), "a": spaces.Box(-1, 1, (1, 2), np.float32)}),
        )
    )
    action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)

    def __init__(self, episode_length: int = 4) -> None:
        self.episode_length = episode_length

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        ended = self.steps == self.episode_length
        return self.observation_space.sample(), float(action.sum()), ended, False, {}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    gymnasium.register("Reach-v0", entry_point=f"{__name__}:Reach", max_episode_steps=6)
    yield
    del gymnasium.registry["Reach-v0"]


def stacked(values: list[Any]) -> Any:
    """A list of dicts as a dict of arrays, which is how Minari's buffers hold episodes."""
    if isinstance(values[0], dict):
        return {key: stacked([value[key] for value in values]) for key in values[0]}
    return np.stack(values)


def play(environment: gymnasium.Env[Any, Any], seed: int) -> tuple[list[Any], EpisodeBuffer]:
    """One episode of random actions: its observations one by one, and all of it as Minari takes it."""
    environment.action_space.seed(seed)
    observations = [environment.reset(seed=seed)[0]]
    steps = []
    ended = False
    while not ended:
        action = environment.action_space.sample()
        observation, reward, terminated, truncated, _ = environment.step(action)
        observations.append(observation)
        steps.append((action, float(reward), terminated, truncated))
        ended = terminated or truncated
    actions, rewards, terminations, truncations = zip(*steps, strict=True)
    buffer = EpisodeBuffer(
        observations=stacked(observations),
        actions=np.stack(actions),
        rewards=list(rewards),
        terminations=list(terminations),
        truncations=list(truncations),
    )
    return observations, buffer


def record(set_id: str, *buffers: EpisodeBuffer, **about: Any) -> minari.MinariDataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it misses an author and the like
        return minari.create_dataset_from_buffers(set_id, list(buffers), **about)


def test_ends_are_those_that_were_recorded_and_the_last_observation_is_left_out() -> None:
    plays = []
    for length in (4, 9):  # ended by itself, and cut off by the limit of 6
        environment = gymnasium.make("Reach-v0", episode_length=length)
        plays.append(play(environment, seed=length))
    record("own/reach-v0", *(buffer for _, buffer in plays), env=environment)
    trajectories = sources.read("minari:own/reach-v0")
    assert (trajectories.name, trajectories.source) == ("minari:own/reach-v0", "minari:own/reach-v0")
    assert trajectories.lengths.tolist() == [4, 6]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    for trajectory, (_, buffer) in zip(trajectories, plays, strict=True):
        assert trajectory.rewards.tolist() == buffer.rewards
        assert np.array_equal(trajectory.actions, buffer.actions)


def test_dicts_are_flattened_as_gymnasium_flattens_them_in_the_environment() -> None:
    environment = gymnasium.make("Reach-v0")
    observations, buffer = play(environment, seed=3)
    record("reach-v0", buffer, env=environment)
    trajectories = sources.read("minari:reach-v0")
    slow = [spaces.utils.flatten(environment.observation_space, observation) for observation in observations[:-1]]
    assert np.array_equal(trajectories[0].observations, np.stack(slow).astype(np.float32))
    assert json.loads(trajectories.attributes["names"])["observations"] == [
        *(f"position_{index}" for index in range(3)), "goal_a_0", "goal_a_1", "goal_z",
    ]  # fmt: skip


def test_the_attribute_makes_the_environment_with_the_observations_of_the_data() -> None:
    environment = gymnasium.make("Reach-v0", episode_length=3)
    _, buffer = play(environment, seed=5)
    record("reach-v0", buffer, env=environment)
    trajectories = sources.read("minari:reach-v0")
    again = make_environment(trajectories.attributes["environment"])
    observation, _ = again.reset(seed=5)
    assert again.observation_space.shape == trajectories.observation_shape
    assert np.allclose(observation, trajectories[0].observations[0])
    lengths = [again.step(np.zeros(2, np.float32))[2:4] for _ in range(3)]
    assert lengths == [(False, False), (False, False), (True, False)]


def test_the_environment_for_evaluation_goes_first() -> None:
    environment = gymnasium.make("Reach-v0")
    _, buffer = play(environment, seed=5)
    evaluated = gymnasium.spec("Reach-v0")
    evaluated.kwargs = {"episode_length": 2}
    record("reach-v0", buffer, env=environment, eval_env=evaluated)
    again = make_environment(sources.read("minari:reach-v0").attributes["environment"])
    assert again.unwrapped.episode_length == 2


def test_an_environment_of_gymnasium_is_known_by_its_name_unless_it_was_changed() -> None:
    usual, changed = gymnasium.make("Pendulum-v1"), gymnasium.make("Pendulum-v1", g=5.0)
    for set_id, environment in (("usual-v0", usual), ("changed-v0", changed)):
        _, buffer = play(environment, seed=0)
        record(set_id, buffer, env=environment)
    assert sources.read("minari:usual-v0").attributes["environment"] == "Pendulum-v1"
    again = make_environment(sources.read("minari:changed-v0").attributes["environment"])
    assert again.unwrapped.g == 5.0
    assert "names" not in sources.read("minari:usual-v0").attributes


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (spaces.Discrete(3), "actions hold a Discrete space; only boxes"),
        (
            spaces.Tuple([spaces.Box(0, 1, (1,)), spaces.MultiBinary(2)]),
            "actions hold a MultiBinary space in 1; only",
        ),
    ],
)
def test_what_is_no_number_is_refused(space: spaces.Space[Any], sentence: str) -> None:
    action = (np.zeros((2, 1)), np.zeros((2, 2), np.int8)) if isinstance(space, spaces.Tuple) else np.zeros(2, int)
    buffer = EpisodeBuffer(
        observations=np.zeros((3, 1)), actions=action, rewards=[0.0] * 2, terminations=[0, 0], truncations=[0, 1]
    )
    record("x-v0", buffer, observation_space=spaces.Box(-1, 1, (1,)), action_space=space)
    with pytest.raises(DatasetError, match=f"minari:x-v0, episode 0: {sentence}"):
        sources.read("minari:x-v0")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"terminations": [1, 0, 0]}, "episode 0 has 3 steps and ends at step 0"),
        ({"rewards": [0.0, np.nan, 0.0]}, "episode 0: rewards are not finite"),
    ],
)
def test_an_episode_that_cannot_be_learned_from_is_named(changes: dict[str, Any], sentence: str) -> None:
    episode: dict[str, Any] = {
        "observations": np.zeros((4, 1)),
        "actions": np.zeros((3, 1)),
        "rewards": [0.0] * 3,
        "terminations": [0, 0, 0],
        "truncations": [0, 0, 1],
    }
    box = spaces.Box(-1, 1, (1,))
    record("x-v0", EpisodeBuffer(**{**episode, **changes}), observation_space=box, action_space=box)
    with pytest.raises(DatasetError, match=sentence):
        sources.read("minari:x-v0")


def test_a_set_that_is_not_here_is_said_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    place = tmp_path / "minari" / "mujoco" / "hopper" / "medium-v0"
    with pytest.raises(DatasetError, match=f"is not in {place}; `minari download mujoco/hopper/medium-v0` fetches"):
        sources.read("minari:mujoco/hopper/medium-v0")


def test_a_broken_set_is_refused() -> None:
    environment = gymnasium.make("Pendulum-v1")
    dataset = record("x-v0", play(environment, seed=0)[1], env=environment)
    (Path(dataset.storage.data_path) / "main_data.hdf5").write_bytes(b"torn")
    with pytest.raises(DatasetError, match="minari:x-v0 cannot be read"):
        sources.read("minari:x-v0")


def test_the_hash_is_over_every_file_of_the_set() -> None:
    environment = gymnasium.make("Pendulum-v1")
    dataset = record("x-v0", play(environment, seed=0)[1], env=environment)
    folder = Path(dataset.storage.data_path)
    lines = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in sorted(path.name for path in folder.iterdir())
    ]
    assert len(lines) == 2
    assert sources.read("minari:x-v0").sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_what_is_written_comes_back(tiny_trajectories: Trajectories) -> None:
    attributes = {"environment": "training.reacher2d:Reacher2d-v0", "units": '{"actions": ["N m", "N m"]}'}
    minari_sets.write("own/noise-v2", tiny_trajectories, attributes)
    again = sources.read("minari:own/noise-v2")
    for trajectory, original in zip(again, tiny_trajectories, strict=True):
        assert np.array_equal(trajectory.observations, original.observations)
        assert np.array_equal(trajectory.actions, original.actions)
        assert np.array_equal(trajectory.rewards, original.rewards)
        assert trajectory.terminated is original.terminated
    assert attributes.items() <= again.attributes.items()
    assert minari.load_dataset("own/noise-v2").recover_environment().spec.id == "Reacher2d-v0"
    assert "minari:own/noise-v2" in sources.known()


def test_a_set_is_never_written_over(tiny_trajectories: Trajectories) -> None:
    minari_sets.write("noise-v0", tiny_trajectories, {})
    with pytest.raises(DatasetError, match=r"there is a Minari set .*noise-v0 already"):
        minari_sets.write("noise-v0", tiny_trajectories, {})
    assert len(sources.read("minari:noise-v0")) == len(tiny_trajectories)


@pytest.mark.parametrize("set_id", ["noise", "", "a b-v0", "../x-v0"])
def test_a_malformed_id_is_refused(set_id: str, tiny_trajectories: Trajectories) -> None:
    with pytest.raises(ConfigError, match="is no name of a Minari set: NAMESPACE/NAME-v0"):
        minari_sets.write(set_id, tiny_trajectories, {})


def test_convert_writes_a_minari_set_that_knows_where_it_came_from(tiny_data: Path) -> None:
    source = sources.read(str(tiny_data))
    convert(source, "minari:own/part-v0", episodes=(1, 3))
    part = sources.read("minari:own/part-v0")
    assert part.lengths.tolist() == source.lengths[1:3].tolist()
    assert part.attributes["source_sha256"] == source.sha256
    assert part.attributes["source_episodes"] == "[1, 2]"


def test_data_list_names_d4rls_sets_and_those_that_are_here(
    tiny_trajectories: Trajectories, capsys: pytest.CaptureFixture[str]
) -> None:
    minari_sets.write("own/noise-v0", tiny_trajectories, {})
    import argparse

    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    data.run(parser.parse_args(["list"]))
    assert {"d4rl:hopper-medium-v2", "minari:own/noise-v0"} <= set(capsys.readouterr().out.split())
