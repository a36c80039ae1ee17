"""Small real policies for every test that needs one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from lamo import checkpoint
from lamo.config import ActionSpace, ObservationSpace, PolicyConfig, TrunkConfig
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.policy import Policy

torch.set_num_threads(1)  # small networks gain nothing from more, and wait for each other on busy machines

settings.register_profile("long", max_examples=4000)  # `make store-machine`

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-wire", action="store_true", help="write docs/wire from what the service answers")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real offline data and language models beside the checkout; tests on them are skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is not there")
    return SHARED_DATA


@pytest.fixture(scope="session")
def config() -> PolicyConfig:
    """A policy small enough to run in a millisecond, with nothing at its default value by accident."""
    return PolicyConfig(
        task="hopper",
        observation=ObservationSpace((5,)),
        action=ActionSpace((2,), low=(-1.0, -0.5), high=(1.0, 0.5)),
        trunk=TrunkConfig(n_layer=2, n_head=2, n_embd=16, n_inner=40),
        context_length=6,
        hop=3,
        return_scale=10.0,
        target_returns=(30.0, 12.0),
        timestep_table_size=40,
        max_timesteps=30,
    )


@pytest.fixture(scope="session")
def normalization(config: PolicyConfig) -> Normalization:
    generator = np.random.default_rng(5)
    return Normalization(generator.normal(size=config.observation.size), generator.uniform(0.5, 2, 5))


@pytest.fixture(scope="session")
def model(config: PolicyConfig) -> LamoModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return LamoModel(config).eval()


@pytest.fixture
def policy(config: PolicyConfig, normalization: Normalization, model: LamoModel) -> Policy:
    return Policy(config, normalization, model, revision="0123456789ab")


@pytest.fixture(scope="session")
def checkpoint_directory(
    tmp_path_factory: pytest.TempPathFactory,
    config: PolicyConfig,
    normalization: Normalization,
    model: LamoModel,
) -> Path:
    """A checkpoint of the small policy, `policies/small`."""
    directory = tmp_path_factory.mktemp("policies") / "small"
    checkpoint.write(
        directory,
        config,
        model.state_dict(),
        normalization,
        training={"updates": 0},
        card="# small\n\nFor tests.\n",
    )
    return directory
