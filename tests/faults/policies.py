"""Policies that real processes serve in tests: small, untrained, but never constant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

import training.reacher2d  # noqa: F401 - registers the environment
from lamo import checkpoint
from lamo.config import ActionSpace, ObservationSpace, PolicyConfig, TrunkConfig
from lamo.model import LamoModel
from lamo.normalization import Normalization
from training.data.recording import record_episodes

ENVIRONMENT = "training.reacher2d:Reacher2d-v0"
TARGETS = (76.0, 40.0)
LONGEST = 4096

STANDING = PolicyConfig(
    task="reacher2d",
    observation=ObservationSpace((12,)),
    action=ActionSpace((2,), (-1.0, -1.0), (1.0, 1.0)),
    trunk=TrunkConfig(n_layer=2, n_head=2, n_embd=16, n_inner=40),
    context_length=6,
    hop=4,
    return_scale=10.0,
    target_returns=TARGETS,
    timestep_table_size=LONGEST,
    max_timesteps=LONGEST,
    environment=ENVIRONMENT,
)
"""A window that stands still for four steps: what a cache holds and what a record holds must give the same."""

SLIDING = replace(STANDING, hop=1)


def write_policies(folder: Path, *, max_timesteps: int = LONGEST) -> Path:
    """Both policies as checkpoints, `sliding` and `standing`; the folder."""
    normalization = Normalization.of(record_episodes([1, 2])[0].observations)
    for name, shape in (("sliding", SLIDING), ("standing", STANDING)):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            tensors = LamoModel(shape).state_dict()
        config = replace(shape, max_timesteps=max_timesteps)
        checkpoint.write(folder / name, config, tensors, normalization, training={}, card="# for tests\n")
    return folder
