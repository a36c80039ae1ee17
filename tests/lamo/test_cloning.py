"""BehaviorCloning: what it looks at, its bounds, and that it is a policy like any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lamo import checkpoint
from lamo.batch import Scaling
from lamo.cloning import BehaviorCloning
from lamo.config import MlpConfig, PolicyConfig
from lamo.errors import ConfigError
from lamo.model import LamoModel
from lamo.network import build
from lamo.normalization import Normalization
from lamo.policy import Policy


@pytest.fixture(scope="module")
def cloning_config(config: PolicyConfig) -> PolicyConfig:
    """Behavior cloning in the shapes of the small policy, with bounds that are not symmetric."""
    action = dataclasses.replace(config.action, low=(-1.0, 2.0), high=(3.0, 2.5))
    return dataclasses.replace(config, trunk=None, mlp=MlpConfig((8, 6)), context_length=1, hop=1, action=action)


@pytest.fixture(scope="module")
def cloning(cloning_config: PolicyConfig) -> BehaviorCloning:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build(cloning_config)
    assert isinstance(network, BehaviorCloning)
    return network.eval()


def test_only_the_state_is_looked_at_and_actions_stay_within_their_bounds(
    cloning: BehaviorCloning, cloning_config: PolicyConfig, normalization: Normalization
) -> None:
    generator = np.random.default_rng(1)
    scaling = Scaling(cloning_config, normalization)
    observations = 100 * generator.normal(size=(4, 3, 5)).astype(np.float32)
    lengths = np.array([3, 1, 2, 3])

    def proposed(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        other = np.random.default_rng(seed)
        actions = other.normal(size=(4, 3, 2)).astype(np.float32)
        batch = scaling.batch(
            other.normal(size=(4, 3)), observations.copy(), actions, other.integers(0, 9, (4, 3)), lengths
        )
        with torch.inference_mode():
            return cloning(batch), cloning.last_actions(batch)

    (first, last), (again, _) = proposed(1), proposed(2)
    assert torch.equal(first, again)
    assert torch.equal(last, first[torch.arange(4), torch.from_numpy(lengths) - 1])
    low, high = torch.tensor(cloning_config.action.low), torch.tensor(cloning_config.action.high)
    assert ((first >= low) & (first <= high)).all()
    assert first.min() < -0.5
    assert first[..., 1].max() > 2.4, "the whole range can be reached"


def test_it_is_saved_served_and_read_like_any_policy(
    cloning: BehaviorCloning, cloning_config: PolicyConfig, normalization: Normalization, tmp_path: Path
) -> None:
    written = checkpoint.write(
        tmp_path / "bc", cloning_config, cloning.state_dict(), normalization, training={}, card="# bc\n"
    )
    policy = Policy.load(tmp_path / "bc")
    assert (policy.revision, policy.config) == (written.revision, cloning_config)
    policy.warm_up(2)
    observation = np.arange(5, dtype=np.float32)
    windows = [policy.begin(target).observe(observation) for target in (1.0, 99.0)]
    first, second = policy.propose(windows)
    assert first.tolist() == second.tolist(), "it has no target"


def test_a_network_is_of_the_kind_its_config_names(config: PolicyConfig, cloning_config: PolicyConfig) -> None:
    assert isinstance(build(config), LamoModel)
    with pytest.raises(ConfigError, match="has no trunk"):
        LamoModel(cloning_config)
    with pytest.raises(ConfigError, match="has no mlp"):
        BehaviorCloning(config)
