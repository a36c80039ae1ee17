"""The algorithms that can be trained: LaMo and its controls, each as the settings in which it differs from LaMo.

Every difference is also an option of its own, so that any other control is a few flags: a random frozen trunk with
LoRA is `--random-init`, one trained from scratch `--random-init --adaptation full`, a frozen trunk `--adaptation
frozen`, full fine-tuning `--adaptation full`, linear maps `--embeddings linear`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Algorithm = Literal["lamo", "dt", "wiki-rl", "bc"]

NO_LM = "none"
"""Stands for no language model: fresh weights in the shape of the Decision Transformer's own trunk."""

ALGORITHMS: Mapping[Algorithm, Mapping[str, Any]] = MappingProxyType(
    {
        "lamo": {},
        # Chen et al. 2021, table 8 and code: 3 layers, 1 head, 128 wide, ReLU, linear maps, everything trains.
        "dt": {
            "lm": NO_LM,
            "random_init": True,
            "adaptation": "full",
            "embeddings": "linear",
            "weight_decay": 1e-4,
            "language_loss_weight": 0.0,
        },
        # Reid et al. 2022 as the LaMo paper runs it: a language model with linear maps, everything trains.
        "wiki-rl": {"adaptation": "full", "embeddings": "linear", "language_loss_weight": 0.0},
        # No trunk, no memory, no target.
        "bc": {"lm": NO_LM, "context_length": 1, "language_loss_weight": 0.0},
    }
)

WITHOUT_LM = frozenset(name for name, settings in ALGORITHMS.items() if settings.get("lm") == NO_LM)
"""Algorithms with a network of their own: no `lm` that all arms of a grid share can make them another one."""
