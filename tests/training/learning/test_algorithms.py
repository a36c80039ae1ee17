"""LaMo's controls: what trains in each, that they learn, and that what they leave can be served."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamo.cloning import BehaviorCloning
from lamo.errors import ConfigError
from lamo.model import LamoModel, MlpEmbedding
from lamo.policy import Policy
from training.learning import lora
from training.learning.adaptation import trainable_groups
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.runs.run_folder import RunFolder
from training.runs.train import train

ConfigMaker = Callable[..., TrainConfig]

ARMS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "lamo": ({}, {"lora", "bias", "embeddings", "head"}),
    "dt": ({"algorithm": "dt"}, {"trunk", "embeddings", "head"}),
    "wiki-rl": ({"algorithm": "wiki-rl"}, {"trunk", "embeddings", "head"}),
    "bc": ({"algorithm": "bc"}, {"head"}),
    "random frozen trunk": ({"random_init": True}, {"lora", "bias", "embeddings", "head"}),
    "from scratch": ({"random_init": True, "adaptation": "full"}, {"trunk", "embeddings", "head"}),
    "frozen trunk": ({"adaptation": "frozen"}, {"embeddings", "head"}),
    "full fine-tuning": ({"adaptation": "full"}, {"trunk", "embeddings", "head"}),
    "linear": ({"embeddings": "linear"}, {"lora", "bias", "embeddings", "head"}),
    "delayed": ({"delayed_reward": True}, {"lora", "bias", "embeddings", "head"}),
    "short context": ({"context_length": 2}, {"lora", "bias", "embeddings", "head"}),
}


@pytest.mark.parametrize("name", ARMS)
def test_every_control_trains_what_it_says_and_leaves_a_policy(
    name: str, tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    settings, groups = ARMS[name]
    wordless = "language_loss_weight" not in settings and settings.get("algorithm") in ("dt", "bc", "wiki-rl")
    weight = {"language_loss_weight": 0.0} if wordless else {}
    config = tiny_config(**settings, **weight, updates=25, label=name, dropout=0.0, lora_dropout=0.0)
    folder = RunFolder(tmp_path / "run")
    train(config, folder)
    assert set(trainable_groups(Experiment.prepare(config).model)) == groups
    losses = [float(row["action_loss"]) for row in _rows(folder.metrics)]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    policy = Policy.load(folder.checkpoint)
    window = policy.begin(76.0).observe(np.zeros(12, np.float32))
    assert np.isfinite(policy.propose([window])).all()
    record = json.loads((folder.checkpoint / "training.json").read_text())
    assert set(record["parameters"]["trainable"]) == groups
    assert "Not evaluated" in (folder.checkpoint / "README.md").read_text()


def test_dt_is_the_decision_transformer_of_its_paper(tiny_config: ConfigMaker) -> None:
    config = tiny_config(algorithm="dt", lm="gpt2", language_loss_weight=0.0)  # an lm that all arms share
    model = Experiment.prepare(config).model
    assert isinstance(model, LamoModel)
    trunk = model.trunk.config
    assert (trunk.n_layer, trunk.n_head, trunk.n_embd, trunk.n_inner) == (3, 1, 128, 512)
    assert trunk.activation_function == "relu"
    assert not isinstance(model.embed_state, MlpEmbedding)
    assert config.weight_decay == 1e-4
    # 3 blocks of 12 * 128 ** 2 weights and 13 * 128 others, the last LayerNorm, embeddings, table and head
    assert sum(item.numel() for item in model.trunk.parameters()) == 3 * (12 * 128**2 + 13 * 128) + 256


def test_behavior_cloning_sees_one_timestep_of_one_kind(tiny_config: ConfigMaker) -> None:
    config = tiny_config(algorithm="bc", language_loss_weight=0.0)
    experiment = Experiment.prepare(config)
    assert isinstance(experiment.model, BehaviorCloning)
    assert experiment.policy_config.context_length == 1
    assert experiment.draw_batch().states.shape == (4, 1, 12)


def test_a_random_trunk_is_not_the_language_models_and_its_seed_decides_it(tiny_config: ConfigMaker) -> None:
    def first_weights(**given: Any) -> torch.Tensor:
        model = Experiment.prepare(tiny_config(adaptation="frozen", **given)).model
        assert isinstance(model, LamoModel)
        return model.trunk.blocks[0].fc.weight  # type: ignore[union-attr, return-value]

    pretrained, random = first_weights(), first_weights(random_init=True)
    assert not torch.equal(pretrained, random)
    assert torch.equal(random, first_weights(random_init=True))
    assert not torch.equal(random, first_weights(random_init=True, seed=1))


def test_merging_a_network_without_lora_changes_nothing(tiny_config: ConfigMaker) -> None:
    model = Experiment.prepare(tiny_config(adaptation="full")).model
    merged = lora.merge(model)
    assert all(torch.equal(merged.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_a_trunk_without_words_has_no_language_loss(tiny_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match=r"language_loss_weight is 0.5, but lm 'none' has no words"):
        Experiment.prepare(tiny_config(algorithm="dt"))


def test_given_indices_are_the_trajectories_that_are_used(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    path = tmp_path / "chosen.json"
    path.write_text(json.dumps({"episodes": [4, 1]}))
    experiment = Experiment.prepare(tiny_config(indices=path, hold_out=0.0))
    data = experiment.data
    assert experiment.origin.sample_ratio == 0.4  # two of five, not the whole of the data set
    assert (data.indices.tolist(), data.trained.lengths.tolist(), data.held_out) == ([1, 4], [3, 5], None)


@pytest.mark.parametrize(("hold_out", "held_out"), [(0.0, 0), (0.05, 1), (0.4, 2), (0.79, 4)])
def test_at_least_one_trajectory_is_held_out_where_any_are_to_be(
    tiny_config: ConfigMaker, hold_out: float, held_out: int
) -> None:
    data = Experiment.prepare(tiny_config(hold_out=hold_out)).data
    assert (len(data.held_out_indices), len(data.trained)) == (held_out, 5 - held_out)
    assert (data.held_out is None) == (held_out == 0)
    assert sorted([*data.indices, *data.held_out_indices]) == [0, 1, 2, 3, 4]


def test_a_down_sampled_run_holds_out_what_it_does_not_use_anyway(tiny_config: ConfigMaker) -> None:
    whole, split = (Experiment.prepare(tiny_config(sample_ratio=0.4, hold_out=share)).data for share in (0.0, 0.5))
    assert split.indices.tolist() == whole.indices.tolist()
    assert len(split.held_out_indices) == 2
    more = Experiment.prepare(tiny_config(sample_ratio=0.8, hold_out=0.4)).data
    assert (len(more.trained), len(more.held_out_indices)) == (3, 2)


def test_holding_out_all_is_refused(tiny_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match=r"hold_out 0.95 of 5 trajectories leaves none to train on"):
        Experiment.prepare(tiny_config(hold_out=0.95))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
