"""The network is the paper's: its parameter counts, its causality, its indifference to padding."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from lamo.batch import Batch, Scaling
from lamo.config import PolicyConfig
from lamo.model import LamoModel, MlpEmbedding
from lamo.normalization import Normalization


def random_batch(config: PolicyConfig, rows: int, timesteps: int, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return Batch(
        returns_to_go=draw(rows, timesteps, 1),
        states=draw(rows, timesteps, config.observation.size),
        actions=draw(rows, timesteps, config.action.size),
        timesteps=torch.arange(timesteps).repeat(rows, 1) + 4,
        lengths=torch.full((rows,), timesteps),
    )


def cut(batch: Batch, timesteps: int) -> Batch:
    """The first timesteps of every row."""
    return Batch(
        batch.returns_to_go[:, :timesteps],
        batch.states[:, :timesteps],
        batch.actions[:, :timesteps],
        batch.timesteps[:, :timesteps],
        torch.full_like(batch.lengths, timesteps),
    )


@pytest.mark.parametrize("order", ["after_norm", "before_norm"])
@pytest.mark.parametrize("embedding", ["mlp", "linear"])
def test_padded_equals_unpadded(config: PolicyConfig, embedding: str, order: str) -> None:
    config = dataclasses.replace(config, embedding=embedding, timestep_order=order)
    torch.manual_seed(0)
    model = LamoModel(config).double().eval()
    full = random_batch(config, rows=3, timesteps=6)
    padded = dataclasses.replace(full, lengths=torch.full((3,), 4))
    with torch.no_grad():
        unpadded = model.last_actions(cut(full, 4))
        torch.testing.assert_close(model.last_actions(padded), unpadded, rtol=0, atol=1e-12)
        torch.testing.assert_close(model(full)[:, 3], unpadded, rtol=0, atol=1e-12)


def test_an_action_does_not_see_itself_nor_what_comes_after(config: PolicyConfig) -> None:
    model = LamoModel(config).double().eval()
    batch = random_batch(config, rows=2, timesteps=5)
    changed = dataclasses.replace(batch, actions=batch.actions.clone(), states=batch.states.clone())
    changed.actions[:, 3:] += 1
    changed.states[:, 4:] += 1
    with torch.no_grad():
        before, after = model(batch), model(changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_an_action_sees_the_return_to_go_the_state_and_the_action_before(config: PolicyConfig) -> None:
    model = LamoModel(config).double().eval()
    batch = random_batch(config, rows=1, timesteps=3)
    with torch.no_grad():
        before = model(batch)[:, 2]
        for name, timestep in (("returns_to_go", 2), ("states", 2), ("actions", 1), ("timesteps", 2)):
            changed = getattr(batch, name).clone()
            changed[:, timestep] += 1
            assert not torch.allclose(model(dataclasses.replace(batch, **{name: changed}))[:, 2], before), name


def test_embeddings_and_heads_are_the_papers(config: PolicyConfig) -> None:
    torch.manual_seed(0)
    block = MlpEmbedding(3, 8)
    x = torch.randn(4, 3)
    hidden = x @ block.fc1.weight.T + block.fc1.bias
    expected = hidden + functional.gelu(hidden) @ block.fc2.weight.T + block.fc2.bias
    torch.testing.assert_close(block(x), expected)
    linear = LamoModel(dataclasses.replace(config, embedding="linear"))
    assert linear.predict_action(1e6 * torch.ones(1, 16)).abs().max() <= 1, "the linear head ends in tanh"
    mlp = LamoModel(config)
    assert mlp.predict_action(1e6 * torch.ones(1, 16)).abs().max() > 1, "the MLP head does not"


def test_a_batch_is_scaled_and_normalised(config: PolicyConfig, normalization: Normalization) -> None:
    generator = np.random.default_rng(0)
    observations = generator.normal(size=(2, 3, 5)).astype(np.float32)
    batch = Scaling(config, normalization).batch(
        returns_to_go=np.full((2, 3), 25.0),
        observations=observations,
        actions=np.zeros((2, 3, 2), np.float32),
        timesteps=np.zeros((2, 3), np.int64),
        lengths=np.array([3, 1]),
    )
    assert batch.returns_to_go.unique().tolist() == [2.5]
    expected = (observations - normalization.mean) / normalization.std
    np.testing.assert_allclose(batch.states.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert batch.attention_mask.tolist() == [[True, True, True], [True, False, False]]
