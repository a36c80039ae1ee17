"""One update: what it moves, and by how much."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from training.config import TrainConfig
from training.experiment import Experiment
from training.learner import Learner

ConfigMaker = Callable[..., TrainConfig]


def _copy(experiment: Experiment) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in experiment.model.state_dict().items()}


def test_updates_move_everything_that_trains_and_nothing_that_is_frozen(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(batch_size=64))
    before = _copy(experiment)
    for _ in range(3):
        experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), 1e-2)
    after = experiment.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == set(experiment.learner.parameters)


def test_left_alone_a_run_has_the_papers_settings(tiny_config: ConfigMaker) -> None:
    config = TrainConfig.of("hopper-medium", preset="paper")
    assert (config.batch_size, config.updates, config.warm_up) == (64, 100_000, 2500)
    assert (config.lora_rank, config.lora_alpha, config.lora_dropout, config.dropout) == (16, 32, 0.1, 0.1)
    assert (config.gradient_clip, config.eval_every, config.eval_episodes) == (0.25, 2500, 20)
    model = Experiment.prepare(tiny_config()).model
    for group in Learner(model, config).optimizer.param_groups:
        assert (group["lr"], group["weight_decay"], group["eps"], group["betas"]) == (
            1e-4,
            1e-5,
            1e-6,
            (0.9, 0.999),
        )


def test_lora_has_a_learning_rate_of_its_own(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(learning_rate=1e-2, lora_learning_rate=1e-3))
    experiment.learner.update(experiment.draw_batch(), None, 5e-3)
    adapted, rest = experiment.learner.optimizer.param_groups
    names = {id(parameter): name for name, parameter in experiment.learner.parameters.items()}
    assert {"lora_" in names[id(item)] or "base_layer.bias" in names[id(item)] for item in adapted["params"]} == {
        True
    }
    assert not any(names[id(item)].startswith("trunk") for item in rest["params"])
    assert (adapted["lr"], rest["lr"]) == (pytest.approx(5e-4), 5e-3)


def test_updates_lower_the_action_loss(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(dropout=0.0, lora_dropout=0.0, language_loss_weight=0.0))
    batch = experiment.draw_batch()
    losses = [experiment.learner.update(batch, None, 1e-2).action.item() for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_language_loss_moves_lora(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(dropout=0.0, lora_dropout=0.0))
    words = experiment.draw_token_ids()
    losses = []
    for _ in range(30):
        language = experiment.learner.update(experiment.draw_batch(), words, 1e-2).language
        assert language is not None
        losses.append(language.item())
    assert losses[-1] < losses[0] - 0.01


def test_the_weight_scales_the_language_losss_gradient(tiny_config: ConfigMaker) -> None:
    norms = []
    for weight in (1.0, 1000.0):
        experiment = Experiment.prepare(tiny_config(dropout=0.0, lora_dropout=0.0, language_loss_weight=weight))
        losses = experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), 1e-2)
        norms.append(losses.gradient_norm.item())
    assert norms[1] > 10 * norms[0]


def test_gradients_are_clipped_to_their_global_norm(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(gradient_clip=1e-3))
    losses = experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), 1e-2)
    gradients = [item.grad for item in experiment.learner.parameters.values() if item.grad is not None]
    assert losses.gradient_norm > 0.01
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-3)


def test_frozen_weights_get_no_gradient(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config())
    experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), 1e-2)
    with_gradient = {name for name, item in experiment.model.named_parameters() if item.grad is not None}
    assert with_gradient == set(experiment.learner.parameters)
