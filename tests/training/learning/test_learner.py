"""One update: what it moves, and by how much."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lamo.config import TrunkConfig
from lamo.trunk import Trunk
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.learning.learner import Learner, is_large
from training.learning.processes import Processes

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
    for group in Learner(model, config, Processes.join(config)).optimizer.param_groups:
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


def _gradients(config: TrainConfig) -> dict[str, torch.Tensor]:
    """Those of the first update, unclipped."""
    experiment = Experiment.prepare(config)
    torch.manual_seed(11)
    experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), 0.0)
    gradients = {name: item.grad for name, item in experiment.learner.parameters.items()}
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients.values())
    return {name: gradient for name, gradient in gradients.items() if gradient is not None}


@pytest.mark.parametrize("accumulate", [2, 3, 4])
def test_a_batch_in_parts_gives_the_gradients_of_the_whole(tiny_config: ConfigMaker, accumulate: int) -> None:
    settings = {"dropout": 0.0, "lora_dropout": 0.0, "gradient_clip": 1e9, "batch_size": 9}
    whole = _gradients(tiny_config(**settings))
    parts = _gradients(tiny_config(**settings, accumulate=accumulate))
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


def test_a_batch_in_parts_has_the_losses_of_the_whole(tiny_config: ConfigMaker) -> None:
    settings = {"dropout": 0.0, "lora_dropout": 0.0, "batch_size": 9}
    both = []
    for accumulate in (1, 4):
        experiment = Experiment.prepare(tiny_config(**settings, accumulate=accumulate))
        losses = experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), 0.0)
        assert losses.language is not None
        both.append((losses.action.item(), losses.language.item(), losses.gradient_norm.item()))
    assert both[1] == pytest.approx(both[0], rel=1e-6)


def test_computing_blocks_again_changes_no_gradient_dropout_included(tiny_config: ConfigMaker) -> None:
    kept = _gradients(tiny_config(gradient_checkpointing=False))
    recomputed = _gradients(tiny_config(gradient_checkpointing=True))
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=0, atol=1e-7, msg=name)


@pytest.mark.parametrize(
    ("name", "n_layer", "n_embd", "large"),
    [("gpt2", 12, 768, False), ("gpt2-medium", 24, 1024, True), ("gpt2-large", 36, 1280, True)],
)
def test_from_gpt2_medium_on_blocks_are_computed_again(name: str, n_layer: int, n_embd: int, large: bool) -> None:
    with torch.device("meta"):
        trunk = Trunk(TrunkConfig(n_layer=n_layer, n_head=n_embd // 64, n_embd=n_embd, n_inner=4 * n_embd))
    assert is_large(trunk) is large, name


def test_bf16_computes_almost_the_same_and_keeps_float32_weights(tiny_config: ConfigMaker) -> None:
    settings = {"dropout": 0.0, "lora_dropout": 0.0, "gradient_clip": 1e9}
    exact, short = _gradients(tiny_config(**settings)), _gradients(tiny_config(**settings, precision="bf16"))
    one, other = (torch.cat([item.flatten() for item in gradients.values()]) for gradients in (exact, short))
    assert 1e-4 < (one - other).norm() / one.norm() < 0.05
    model = Experiment.prepare(tiny_config(precision="bf16")).model
    assert {item.dtype for item in model.parameters()} == {torch.float32}


def test_a_process_may_train_in_one_precision_after_another(tiny_config: ConfigMaker) -> None:
    before = _gradients(tiny_config())
    _gradients(tiny_config(precision="bf16"))
    after = _gradients(tiny_config())
    assert all(torch.equal(before[name], after[name]) for name in before)
