"""TrainConfig: what it refuses, and that it survives being saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamo.errors import ConfigError
from training.config import TrainConfig
from training.learner import learning_rate_at


def test_a_config_survives_its_json() -> None:
    config = TrainConfig(
        task="hopper", dataset=Path("a.hdf5"), text=(Path("b.txt"),), hops=(1, 10), target_returns=(5.0,), threads=2
    )
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_without_target_returns_the_tasks_are_asked_for() -> None:
    assert TrainConfig(task="reacher2d", dataset=Path("a")).targets == (76.0, 40.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "hoppper"}, "unknown task 'hoppper'"),
        ({"updates": 0}, "updates is 0, it must be above 0"),
        ({"keep": 0}, "keep is 0, it must be above 0"),
        ({"language_loss_weight": -1.0}, "language_loss_weight is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"language_loss_weight": float("inf")}, "language_loss_weight is inf"),
        ({"dropout": 1.0}, r"dropout is 1.0, it must be in \[0, 1\)"),
        ({"preset": "papr"}, "preset is papr, it must be one of paper, fixed"),
        ({"hops": (1, 21)}, r"hops is \(1, 21\), it must be one or more of 1..20"),
        ({"hops": ()}, r"hops is \(\)"),
        ({"target_returns": ()}, r"target_returns is \(\)"),
        ({"target_returns": (float("inf"),)}, r"target_returns is \(inf,\)"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_values_that_cannot_be_used_are_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig(**{"task": "hopper", "dataset": Path("a.hdf5"), **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format_version": 99}, "format_version is 99, this version reads 1"),
        ({"colour": "red"}, "unknown field colour"),
        ({"updates": "many"}, "a field is missing or has the wrong type"),
    ],
)
def test_a_saved_config_of_another_kind_is_refused(changes: dict[str, Any], sentence: str) -> None:
    document = TrainConfig(task="hopper", dataset=Path("a.hdf5")).to_json()
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig.from_json({**document, **changes})


def test_the_learning_rate_rises_linearly_and_then_stays() -> None:
    config = TrainConfig(task="hopper", dataset=Path("a"), learning_rate=0.8, warm_up=4)
    rates = [learning_rate_at(config, update) for update in (1, 2, 3, 4, 5, 1000)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_without_a_warm_up_it_is_there_at_once() -> None:
    config = TrainConfig(task="hopper", dataset=Path("a"), learning_rate=0.8, warm_up=0)
    assert learning_rate_at(config, 1) == 0.8
