"""A policy answers a window the same whoever shares the batch, and every episode as if it were alone."""

from __future__ import annotations

import copy
import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lamo.agent import PolicyAgent
from lamo.checkpoint import Checkpoint
from lamo.config import PolicyConfig
from lamo.errors import ActionNotFinite, ConfigError
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.policy import Policy
from lamo.rollout import EpisodePlan, Turn, play
from lamo.window import EpisodeWindow

ROOT = Path(__file__).parents[2]


class Drift:
    """A point that actions push about; its reward is the return-to-go's rival: hard to keep and easy to check."""

    def __init__(self, horizon: int = 1000) -> None:
        self.horizon = horizon

    def reset(self, *, seed: int | None = None) -> tuple[np.ndarray, dict[str, object]]:
        self.position = np.random.default_rng(seed).normal(size=5)
        self.steps = 0
        return self.position.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.steps += 1
        self.position = self.position * 0.9 + np.resize(action, 5)
        terminated = bool(abs(self.position[0]) > 4)
        return (
            self.position.astype(np.float32),
            float(self.position.sum()),
            terminated,
            self.steps >= self.horizon,
            {},
        )

    def close(self) -> None:
        self.position = np.full(5, np.nan)


def live_windows(policy: Policy, count: int) -> list[EpisodeWindow]:
    """Windows of every length, from empty pasts to long ones."""
    generator = np.random.default_rng(2)
    windows = []
    for episode in range(count):
        window = policy.begin(30.0 - episode)
        for _ in range(1 + 2 * episode % 20):
            window = window.observe(generator.normal(size=5).astype(np.float32), float(generator.normal()))
            window = window.propose(generator.uniform(-0.5, 0.5, size=2).astype(np.float32))
        windows.append(window)
    return windows


def test_a_batch_equals_its_windows_one_by_one(policy: Policy) -> None:
    windows = live_windows(policy, 11)
    together = policy.propose(windows)
    alone = np.concatenate([policy.propose([window]) for window in windows])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_reproducible_actions_are_the_same_bits_whoever_shares_the_batch(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    policy = Policy(config, normalization, model, reproducible=True)
    windows = live_windows(policy, 19)
    alone = {id(window): policy.propose([window])[0].tobytes() for window in windows}
    for order in (windows, windows[::-1], windows[5:12]):
        for window, action in zip(order, policy.propose(order), strict=True):
            assert action.tobytes() == alone[id(window)]


def test_a_loaded_policy_acts_as_the_one_that_was_saved(policy: Policy, checkpoint_directory: Path) -> None:
    loaded = Policy.load(checkpoint_directory)
    windows = live_windows(policy, 4)
    assert loaded.propose(windows).tobytes() == policy.propose(windows).tobytes()
    assert len(loaded.revision) == 12


def test_a_loaded_policy_gives_the_same_bits_as_the_one_that_was_saved(
    policy: Policy, checkpoint_directory: Path
) -> None:
    loaded = Policy.load(checkpoint_directory, reproducible=True)
    policy.reproducible = True
    assert all(tensor.data_ptr() % 64 == 0 for tensor in Checkpoint.read(checkpoint_directory).tensors.values())
    for step in range(20):
        window = policy.begin(float(step)).observe(np.full(5, step / 7, np.float32))
        assert loaded.propose([window]).tobytes() == policy.propose([window]).tobytes()


LOADING_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from lamo.policy import Policy

sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(4) as threads:
    for policy in threads.map(Policy.load, [Path(sys.argv[1])] * 4):
        print(policy.revision)
"""


def test_policies_are_loaded_in_several_threads_at_once(checkpoint_directory: Path) -> None:
    """In a process that has not compiled any of their classes yet."""
    command = [sys.executable, "-c", LOADING_AT_ONCE, str(checkpoint_directory)]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert len(set(ended.stdout.split())) == 1


def test_bfloat16_is_close_to_float32(checkpoint_directory: Path) -> None:
    exact, rounded = (Policy.load(checkpoint_directory, dtype=dtype) for dtype in ("float32", "bfloat16"))
    windows = live_windows(exact, 8)
    np.testing.assert_allclose(rounded.propose(windows), exact.propose(windows), atol=0.05)
    with pytest.raises(ConfigError, match="'float16' is not one of float32, bfloat16"):
        Policy.load(checkpoint_directory, dtype="float16")


def test_many_episodes_at_once_play_as_each_would_alone(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    policy = Policy(config, normalization, model, reproducible=True)
    plans = [EpisodePlan(target, seed) for target in (30.0, 12.0) for seed in range(6)]
    together = play(PolicyAgent(policy), Drift, plans, parallel=5, max_timesteps=25, traces=True)
    for plan, result in zip(plans, together, strict=True):
        (alone,) = play(PolicyAgent(policy), Drift, [plan], parallel=1, max_timesteps=25, traces=True)
        assert result.plan == plan
        assert (result.episode_return, result.episode_length) == (alone.episode_return, alone.episode_length)
        assert result.trace is not None
        assert alone.trace is not None
        assert result.trace.actions.tobytes() == alone.trace.actions.tobytes()
        assert result.episode_return == pytest.approx(result.trace.rewards.sum())


def test_a_rollout_ends_episodes_at_the_limit_and_frees_every_environment(policy: Policy) -> None:
    made: list[Drift] = []

    def make() -> Drift:
        made.append(Drift(horizon=7 + len(made)))
        return made[-1]

    stepped: list[int] = []
    seen: list[int] = []
    plans = [EpisodePlan(30.0, seed) for seed in range(5)]
    results = play(
        PolicyAgent(policy),
        make,
        plans,
        parallel=2,
        max_timesteps=9,
        on_step=stepped.append,
        on_episode=lambda result: seen.append(result.plan.seed),
    )
    assert len(made) == 2
    assert all(np.isnan(environment.position).all() for environment in made)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert sum(stepped) == sum(result.episode_length for result in results)
    assert all(result.terminated != result.truncated for result in results)
    assert max(result.episode_length for result in results) <= 9


def test_an_action_that_is_not_finite_is_an_error_and_not_a_move(
    config: PolicyConfig, normalization: Normalization
) -> None:
    broken = LamoModel(config)
    with torch.no_grad():
        broken.predict_action.fc2.bias[0] = math.nan
    agent = PolicyAgent(Policy(config, normalization, broken))
    agent.start([(0, EpisodePlan(30.0, 0))])
    with pytest.raises(ActionNotFinite):
        agent.act([Turn(0, 0, np.zeros(5, np.float32), 0.0)])


def test_actions_stay_within_the_bounds(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    bold = copy.deepcopy(model)
    with torch.no_grad():
        bold.predict_action.fc2.bias.copy_(torch.tensor([9.0, -9.0]))
    policy = Policy(config, normalization, bold)
    observation = np.zeros(5, np.float32)
    assert np.abs(policy.propose([policy.begin(30.0).observe(observation)])).min() > 5
    agent = PolicyAgent(policy)
    agent.start([(0, EpisodePlan(30.0, 0))])
    (action,) = agent.act([Turn(0, 0, observation, 0.0)])
    assert action.tolist() == [1.0, -0.5]


def test_the_hop_can_be_overridden_for_an_evaluation(policy: Policy) -> None:
    assert policy.begin(1.0).hop == policy.config.hop == 3
    assert policy.begin(1.0, hop=1).hop == 1


def test_constant_dimensions_are_centred_and_not_blown_up() -> None:
    observations = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    observations[:, 1] = 7.0
    statistics = Normalization.of(observations)
    assert statistics.std[1] == 1.0
    assert statistics.zscore(np.array([0.0, 7.5], np.float32)) == pytest.approx(0.5, abs=0.2)


def test_the_config_says_what_was_changed(config: PolicyConfig) -> None:
    with pytest.raises(ConfigError, match="hop 0"):
        dataclasses.replace(config, hop=0)
