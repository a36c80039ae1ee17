"""A tiny language model, tiny data, and a run on them that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lamo.evaluation import Score
from training.data import hdf5
from training.data.trajectories import Trajectories, Trajectory
from training.language.tokenizer import train_tokenizer
from training.learning.config import TrainConfig
from training.runs.run_folder import RunFolder
from training.runs.train import train


@pytest.fixture(scope="session")
def tiny_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 with two narrow layers and random weights, with a tokenizer of its own, as a folder."""
    folder = tmp_path_factory.mktemp("lm") / "tiny"
    tokenizer = train_tokenizer(["the arm reaches the target"] * 3, vocab_size=270, context=32)
    layout = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        GPT2LMHeadModel(layout).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_trajectories() -> Trajectories:
    """Five episodes of noise, of different lengths, in the shapes of reacher2d."""
    generator = np.random.default_rng(8)
    return Trajectories(
        tuple(
            Trajectory(
                observations=generator.normal(size=(length, 12)).astype(np.float32),
                actions=generator.uniform(-1, 1, (length, 2)).astype(np.float32),
                rewards=generator.integers(0, 2, length).astype(np.float64),
                terminated=False,
            )
            for length in (9, 3, 12, 7, 5)
        ),
        name="noise",
    )


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory, tiny_trajectories: Trajectories) -> Path:
    """The tiny trajectories as a file."""
    path = tmp_path_factory.mktemp("data") / "noise.hdf5"
    hdf5.write(path, tiny_trajectories, {})
    return path


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of some hundred tokens."""
    path = tmp_path_factory.mktemp("text") / "arm.txt"
    path.write_text("The arm reaches for the target, misses it, and reaches again. " * 20, encoding="utf-8")
    return path


ConfigMaker = Callable[..., TrainConfig]


@pytest.fixture(scope="session")
def tiny_config(tiny_lm: Path, tiny_data: Path, tiny_text: Path) -> ConfigMaker:
    """Makes the config of a run on all of these; what is given replaces what is said here."""

    def make(**changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "task": "reacher2d",
            "dataset": str(tiny_data),
            "lm": str(tiny_lm),
            "text": (tiny_text,),
            "language_loss_weight": 0.5,
            "batch_size": 4,
            "updates": 10,
            "learning_rate": 1e-2,
            "warm_up": 5,
            "eval_episodes": 0,
        }
        return TrainConfig.of(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, tiny_config: ConfigMaker) -> RunFolder:
    """A run of ten updates with an evaluation at its end."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "finished")
    train(tiny_config(eval_episodes=2, hops=(2, 1), sample_ratio=0.6), folder)
    return folder


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[Score]]:
    """Makes the score rows of one run from {update: {target return: episode returns}}.

    Options: `normalize`, what a return is multiplied by to be a normalized score; and any column of `Score`.
    """

    def make(
        table: dict[int | None, dict[float, list[float]]], *, normalize: float | None = None, **columns: Any
    ) -> list[Score]:
        return [
            Score(
                **{
                    "task": "hopper-medium",
                    "dataset": "d4rl:hopper-medium-v2",
                    "dataset_hash": "d" * 64,
                    "sample_ratio": 1.0,
                    "algorithm": "lamo",
                    "preset": "fixed",
                    "seed": 0,
                    "update": update,
                    "target_return": float(target),
                    "hop": 1,
                    "episode_seed": episode,
                    "episode_return": episode_return,
                    "episode_length": 100,
                    "normalized_score": None if normalize is None else normalize * episode_return,
                    "code_version": "c" * 40,
                    "policy": "hopper",
                    "revision": "0123",
                    **columns,
                }
            )
            for update, targets in table.items()
            for target, returns in targets.items()
            for episode, episode_return in enumerate(returns)
        ]

    return make
