"""Dropout on a CPU: torch's distribution, from torch's generator."""

from __future__ import annotations

import pytest
import torch

from lamo.config import TrunkConfig
from lamo.dropout import Dropout, drop
from lamo.trunk import Trunk


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_that_share_is_dropped_and_the_rest_scaled(chance: float) -> None:
    torch.manual_seed(0)
    dropped = drop(torch.ones(301, 1001), chance)
    assert (dropped == 0).float().mean().item() == pytest.approx(chance, abs=0.004)
    assert dropped.max().item() == pytest.approx(1 / (1 - chance), rel=1e-3)
    assert dropped.unique().numel() == 2


def test_what_is_dropped_is_independent_of_its_neighbours() -> None:
    torch.manual_seed(1)
    kept = (drop(torch.ones(400_000), 0.5) > 0).float() - 0.5
    for distance in (1, 2, 3, 4, 8):  # four numbers share one random word
        assert abs((kept[:-distance] * kept[distance:]).mean().item()) < 0.002


def test_it_depends_on_torchs_generator_alone() -> None:
    x = torch.randn(50, 7)
    torch.manual_seed(2)
    first, second = drop(x, 0.3), drop(x, 0.3)
    torch.manual_seed(2)
    assert torch.equal(drop(x, 0.3), first)
    assert not torch.equal(first, second)


def test_the_gradient_passes_where_the_number_did() -> None:
    x = torch.randn(40, requires_grad=True)
    dropped = drop(x, 0.4)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x.detach(), dropped.detach())


def test_outside_of_training_nothing_is_dropped() -> None:
    x = torch.randn(9)
    assert Dropout(0.5).eval()(x) is x


def test_attention_with_dropout_is_on_average_that_without() -> None:
    torch.manual_seed(3)
    attention = Trunk(TrunkConfig(n_layer=1, n_head=2, n_embd=16, n_inner=40), dropout=0.2).blocks[0].attention
    hidden, read = torch.randn(1, 6, 16), torch.tensor([[1, 4]])
    with torch.no_grad():
        for where in (None, read):
            mean = attention.train()(hidden.expand(4000, -1, -1), where).mean(dim=0, keepdim=True)
            torch.testing.assert_close(mean, attention.eval()(hidden, where), rtol=0, atol=0.02)
