"""The language model a trunk is made from: found by name, loaded, or replaced by random weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from transformers.utils import logging

from lamo.config import TrunkConfig
from lamo.trunk import PretrainedTrunk
from training.learning.algorithms import NO_LM
from training.learning.config import SEED_LM

_SEED_LM_FOLDER = Path(__file__).parents[1] / "seed_lm"


def location(lm: str) -> str:
    """What `transformers` is asked for: the folder of the model that ships here, or the name itself.

    A shell leaves the ~ of `--lm=~/folder` to us, and `transformers` knows no such thing.
    """
    return str(_SEED_LM_FOLDER) if lm == SEED_LM else str(Path(lm).expanduser()) if lm.startswith("~") else lm


DT_TRUNK = TrunkConfig(n_layer=3, n_head=1, n_embd=128, n_inner=512, activation_function="relu")
"""The Decision Transformer's own trunk on Gym tasks (Chen et al. 2021, table 8)."""


def load_trunk(lm: str, *, random_init: bool, dropout: float, seed: int) -> PretrainedTrunk:
    """The trunk of a language model, or one of its shape with random weights that depend on `seed` alone.

    Raises:
        LanguageModelError: there is no such model, or it cannot become this trunk.
    """
    with torch.random.fork_rng(devices=[]):
        if lm == NO_LM:
            torch.manual_seed(seed)
            return PretrainedTrunk.random(DT_TRUNK, vocab_size=1, n_positions=1, dropout=dropout)
        pretrained = PretrainedTrunk.load(location(lm), dropout=dropout)
        if not random_init:
            return pretrained
        torch.manual_seed(seed)
        return PretrainedTrunk.random(
            pretrained.trunk.config,
            vocab_size=len(pretrained.wte),
            n_positions=len(pretrained.wpe),
            dropout=dropout,
        )


def silence_loading() -> None:
    """Keep `transformers` from writing about loading into the middle of a command's own progress."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def fingerprint(pretrained: PretrainedTrunk) -> str:
    """SHA-256 over the frozen weights: a run goes on, and is exported, only with those it began with."""
    digest = hashlib.sha256()
    for name, tensor in sorted(pretrained.trunk.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
