"""TrainConfig: what it refuses, and that it survives being saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lamo.errors import ConfigError
from training.learning.algorithms import ALGORITHMS, Algorithm
from training.learning.config import TrainConfig
from training.learning.learner import learning_rate_at
from training.tasks.task import TASKS_FOLDER


def test_a_config_survives_its_json() -> None:
    config = TrainConfig.of(
        "hopper-medium",
        dataset="a.hdf5",
        indices=Path("c.json"),
        text=(Path("b.txt"),),
        hops=(1, 10),
        target_returns=(5.0,),
        threads=2,
    )
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_data_and_targets_are_the_tasks_unless_others_are_given() -> None:
    config = TrainConfig.of("hopper-medium")
    assert config.dataset == "d4rl:hopper-medium-v2"
    assert config.task.target_returns == (3600, 2600, 2200, 1800)
    other = TrainConfig.of("hopper-medium", dataset="a.hdf5", target_returns=(5.0,), context_length=3)
    assert (other.dataset, other.task.target_returns, other.task.context_length) == ("a.hdf5", (5.0,), 3)


def test_files_may_be_named_in_a_tasks_file(tmp_path: Path) -> None:
    task = tmp_path / "own.toml"
    shipped = (TASKS_FOLDER / "reacher2d.toml").read_text(encoding="utf-8")
    task.write_text(f'{shipped}\n[training]\nindices = "chosen.json"\ntext = "words.txt"\n', encoding="utf-8")
    config = TrainConfig.of(str(task))
    assert (config.indices, config.text) == (Path("chosen.json"), (Path("words.txt"),))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_is_its_settings_and_what_is_given_counts_more(algorithm: Algorithm) -> None:
    config = TrainConfig.of("walker2d-medium", algorithm=algorithm, weight_decay=0.5, embeddings="mlp")
    for name, value in ALGORITHMS[algorithm].items():
        if name not in ("weight_decay", "embeddings"):
            assert getattr(config, name, None) == value or getattr(config.task, name) == value
    usual = "embeddings" not in ALGORITHMS[algorithm]  # walker2d's own maps are MLPs
    arm = algorithm if usual else f"{algorithm} embeddings=mlp"
    assert (config.weight_decay, config.task.embeddings, config.arm) == (0.5, "mlp", arm)


@pytest.mark.parametrize(
    ("given", "arm"),
    [
        ({}, "lamo"),
        ({"random_init": True}, "lamo random_init"),
        ({"random_init": True, "adaptation": "full", "lora_rank": 16}, "lamo random_init adaptation=full"),
        ({"context_length": 20, "language_loss_weight": 0.1}, "lamo language_loss_weight=0.1"),
        ({"algorithm": "dt", "embeddings": "linear"}, "dt"),
        ({"random_init": True, "label": "random trunk"}, "random trunk"),
    ],
)
def test_an_arm_is_named_by_its_algorithm_and_what_was_asked_for_otherwise(given: dict[str, Any], arm: str) -> None:
    assert TrainConfig.of("hopper-medium", **given).arm == arm


def test_behavior_cloning_has_no_hops() -> None:
    assert TrainConfig.of("hopper-medium", algorithm="bc", hops=(1, 10)).hops == (1,)


def test_the_presets_of_kitchen_differ_in_the_unit_of_its_rewards() -> None:
    paper, fixed = (TrainConfig.of("kitchen-complete", preset=preset) for preset in ("paper", "fixed"))
    assert (paper.task.rewards, fixed.task.rewards) == ("as recorded", "differences")
    assert (paper.task.timestep_rows, fixed.task.timestep_rows) == (1000, 280)
    assert (paper.hold_out, fixed.hold_out) == (0.0, 0.05)
    assert (paper.language_positions, fixed.language_positions) == (False, True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"task": "hoppper"}, "unknown task 'hoppper'; known tasks: ant-medium, half"),
        ({"updates": 0}, "updates is 0, it must be above 0"),
        ({"keep": 0}, "keep is 0, it must be above 0"),
        ({"language_loss_weight": -1.0}, "language_loss_weight is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"language_loss_weight": float("inf")}, "language_loss_weight is inf"),
        ({"dropout": 1.0}, r"dropout is 1.0, it must be in \[0, 1\)"),
        ({"preset": "papr"}, "preset is papr, it must be one of paper, fixed"),
        ({"hops": (1, 21)}, r"hops is \(1, 21\), it must be one or more of 1..20"),
        ({"hops": ()}, r"hops is \(\)"),
        ({"target_returns": ()}, r"target_returns is \(\), it must be one or more finite numbers"),
        ({"target_returns": (float("inf"),)}, r"target_returns is \(inf,\)"),
        ({"threads": 0}, "threads is 0"),
        ({"algorithm": "cql"}, "algorithm is cql, it must be one of lamo, dt, wiki-rl, bc"),
        ({"adaptation": "half"}, "adaptation is half"),
        ({"hold_out": 1.0}, "hold_out is 1.0"),
        ({"lora_alpha": 0}, "lora_alpha is 0, it must be above 0"),
        ({"sample_ratio": 1.5}, r"sample_ratio is 1.5, it must be in \(0, 1\]"),
        ({"sample_ratio": 0.5, "indices": Path("c.json")}, "sample_ratio is 0.5, .* and 1 where indices are given"),
        ({"colour": "red"}, "sets colour, which is no setting"),
    ],
)
def test_values_that_cannot_be_used_are_refused_by_name(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig.of(**{"task": "hopper-medium", "dataset": "a.hdf5", **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format_version": 99}, "format_version is 99, this version reads 2"),
        ({"colour": "red"}, "unknown field colour"),
        ({"updates": "many"}, "a field is missing or has the wrong type"),
    ],
)
def test_a_saved_config_of_another_kind_is_refused(changes: dict[str, Any], sentence: str) -> None:
    document = TrainConfig.of("hopper-medium", dataset="a.hdf5").to_json()
    with pytest.raises(ConfigError, match=sentence):
        TrainConfig.from_json({**document, **changes})


def test_the_learning_rate_rises_linearly_and_then_stays() -> None:
    config = TrainConfig.of("hopper-medium", learning_rate=0.8, warm_up=4)
    rates = [learning_rate_at(config, update) for update in (1, 2, 3, 4, 5, 1000)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_without_a_warm_up_it_is_there_at_once() -> None:
    config = TrainConfig.of("hopper-medium", learning_rate=0.8, warm_up=0)
    assert learning_rate_at(config, 1) == 0.8
