"""The two losses against slow and against foreign implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2LMHeadModel

from lamo.trunk import PretrainedTrunk
from training.learning.losses import action_loss, language_loss


def test_the_action_loss_is_the_mean_over_real_timesteps_and_dimensions() -> None:
    generator = np.random.default_rng(0)
    proposed, actions = generator.normal(size=(2, 3, 4, 2)).astype(np.float32)
    mask = np.array([[True, True, True, True], [True, False, False, False], [True, True, False, False]])
    errors = [
        (proposed[row, step, dim] - actions[row, step, dim]) ** 2
        for row in range(3)
        for step in range(4)
        for dim in range(2)
        if mask[row, step]
    ]
    loss = action_loss(torch.from_numpy(proposed), torch.from_numpy(actions), torch.from_numpy(mask))
    assert loss.item() == pytest.approx(np.mean(errors), rel=1e-6)


def test_padding_does_not_move_the_action_loss() -> None:
    proposed, actions = torch.randn(2, 1, 3, 2, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True, True, False]])
    loss = action_loss(proposed, actions, mask)
    proposed[0, 2] = 1e6
    assert torch.equal(loss, action_loss(proposed, actions, mask))


@pytest.fixture
def token_ids() -> torch.Tensor:
    return torch.randint(0, 260, (2, 20), generator=torch.Generator().manual_seed(4))


def test_with_positions_the_language_loss_is_that_of_transformers(tiny_lm: Path, token_ids: torch.Tensor) -> None:
    theirs = GPT2LMHeadModel.from_pretrained(tiny_lm).eval()
    ours = PretrainedTrunk.load(str(tiny_lm))
    with torch.inference_mode():
        expected = theirs(input_ids=token_ids, labels=token_ids).loss
        loss = language_loss(ours.trunk.eval(), token_ids, ours.wte, ours.wpe)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


def test_without_positions_it_is_that_of_transformers_with_a_table_of_zeros(
    tiny_lm: Path, token_ids: torch.Tensor
) -> None:
    theirs = GPT2LMHeadModel.from_pretrained(tiny_lm).eval()
    ours = PretrainedTrunk.load(str(tiny_lm))
    with torch.inference_mode():
        theirs.transformer.wpe.weight.zero_()
        expected = theirs(input_ids=token_ids, labels=token_ids).loss
        loss = language_loss(ours.trunk.eval(), token_ids, ours.wte, None)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
