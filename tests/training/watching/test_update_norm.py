"""The relative norm of what was added to a trunk."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lamo.model import LamoModel
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.learning.lora import merge
from training.watching.update_norm import UpdateNorm

ConfigMaker = Callable[..., TrainConfig]


def _model(config: TrainConfig) -> LamoModel:
    model = Experiment.prepare(config).model
    assert isinstance(model, LamoModel)
    return model


def test_with_lora_it_is_what_merging_changes_relative_to_the_weights_it_changes(
    tiny_config: ConfigMaker,
) -> None:
    model = _model(tiny_config())
    norm = UpdateNorm(model)
    before = merge(model)
    assert norm.measure() == 0.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    after = dict(merge(model).named_parameters())
    changed = {name: item for name, item in before.named_parameters() if not torch.equal(item, after[name])}
    assert len(changed) == 6  # q, k and v of two blocks
    moved = sum(float((after[name] - item).square().sum()) for name, item in changed.items()) ** 0.5
    whole = sum(float(item.square().sum()) for item in changed.values()) ** 0.5
    assert norm.measure() == pytest.approx(moved / whole, rel=1e-4)


def test_of_a_whole_trunk_it_is_the_distance_from_its_start(tiny_config: ConfigMaker) -> None:
    model = _model(tiny_config(adaptation="full"))
    norm = UpdateNorm(model)
    with torch.no_grad():
        for parameter in model.trunk.parameters():
            parameter.mul_(1.25)
    assert norm.measure() == pytest.approx(0.25, rel=1e-5)


def test_a_frozen_trunk_does_not_move(tiny_config: ConfigMaker) -> None:
    assert UpdateNorm(_model(tiny_config(adaptation="frozen"))).measure() == 0.0
