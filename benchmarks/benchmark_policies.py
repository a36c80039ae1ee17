"""Benchmark policies: the shapes that are served here, with random weights where no trained ones are given."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import torch

from lamo import checkpoint
from lamo.config import ActionSpace, MlpConfig, ObservationSpace, PolicyConfig, TrunkConfig
from lamo.network import build
from lamo.normalization import Normalization

DEMO = PolicyConfig(
    task="reacher2d",
    observation=ObservationSpace((12,)),
    action=ActionSpace((2,), (-1.0, -1.0), (1.0, 1.0)),
    trunk=TrunkConfig(n_layer=4, n_head=4, n_embd=128, n_inner=512),
    context_length=5,
    return_scale=10.0,
    target_returns=(76.0, 40.0),
    timestep_table_size=100,
    max_timesteps=100,
)
"""What `make demo` trains: the seed language model's trunk, Reacher2d's spaces."""

GPT2_SMALL = PolicyConfig(
    task="hopper",
    observation=ObservationSpace((11,)),
    action=ActionSpace((3,), (-1.0,) * 3, (1.0,) * 3),
    trunk=TrunkConfig(n_layer=12, n_head=12, n_embd=768, n_inner=3072),
    context_length=20,
    return_scale=1000.0,
    target_returns=(3600.0,),
    timestep_table_size=1000,
    max_timesteps=1000,
    embedding="linear",
)
"""The paper's Hopper policy."""


MLP = dataclasses.replace(DEMO, trunk=None, mlp=MlpConfig((64, 64)))
"""Behavior cloning with the demo's spaces: costs next to nothing, so that the way to it is what is measured."""


def write_demo(directory: Path, trained: Path) -> str:
    """Write the demo policy; the trained one is copied if it is there. Says which it was."""
    if trained.is_dir():
        shutil.copytree(trained, directory)
        return f"as trained, {trained}"
    return write_random(directory, DEMO)


def write_random(directory: Path, config: PolicyConfig) -> str:
    """Write a checkpoint of a shape with random weights, which cost what trained ones cost."""
    torch.manual_seed(0)
    size = config.observation.size
    unit = Normalization(np.zeros(size), np.ones(size))
    checkpoint.write(directory, config, build(config).state_dict(), unit, training={}, card="# for a benchmark\n")
    return "random weights"
