"""Network: what a policy computes with, whichever kind its config names."""

from __future__ import annotations

from lamo.cloning import BehaviorCloning
from lamo.config import PolicyConfig
from lamo.model import LamoModel

Network = LamoModel | BehaviorCloning


def build(config: PolicyConfig) -> Network:
    """The network of a config, with fresh weights drawn from torch's global generator."""
    return LamoModel(config) if config.mlp is None else BehaviorCloning(config)
