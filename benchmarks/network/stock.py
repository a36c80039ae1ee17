"""Stock: this project's trunk beside `transformers`' GPT2Model with the same weights, on the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from network.forward import Forward, full_windows, unit
from network.turns import fastest
from pages.page import markdown_table
from torch import Tensor, nn
from transformers import DynamicCache, GPT2Config, GPT2Model

from lamo.batch import Scaling
from lamo.config import PolicyConfig, TrunkConfig
from lamo.linear import computing_dtype
from lamo.model import LamoModel
from lamo.packed import STEP_TOKENS
from lamo.trunk import Trunk, from_gpt2


@dataclass(frozen=True)
class Comparison:
    """One pass, both ways.

    Attributes:
        ours, theirs: seconds.
        difference: the largest between the two trunks' last hidden states, and `scale` the largest of those.
    """

    policy: str
    dtype: str
    what: str
    rows: int
    ours: float
    theirs: float
    difference: float
    scale: float


class StockTrunk:
    """`transformers`' own way: SDPA, inference mode, a DynamicCache of one batch that is cut back after a step."""

    def __init__(self, model: GPT2Model, tokens: Tensor) -> None:  # tokens: [rows, tokens, n_embd]
        self._model = model
        self._tokens = tokens
        self._cache = DynamicCache()

    @torch.inference_mode()
    def fill(self) -> Tensor:  # [rows, n_embd]
        """Whole windows."""
        return self._model(inputs_embeds=self._tokens, use_cache=False).last_hidden_state[:, -1]

    @torch.inference_mode()
    def remember(self) -> None:
        """Put all but the last step's tokens into the cache."""
        self._model(inputs_embeds=self._tokens[:, :-STEP_TOKENS], past_key_values=self._cache, use_cache=True)

    @torch.inference_mode()
    def step(self) -> Tensor:  # [rows, n_embd]
        """The last step's tokens on the cache, which stays as it was: `crop` takes a view."""
        new = self._tokens[:, -STEP_TOKENS:]
        hidden = self._model(inputs_embeds=new, past_key_values=self._cache, use_cache=True).last_hidden_state
        self._cache.crop(-STEP_TOKENS)
        return hidden[:, -1]


def gpt2(trunk: TrunkConfig) -> GPT2Model:
    """A GPT2Model of a trunk's shape, without position embeddings, as trajectory tokens go through it."""
    config = GPT2Config(
        vocab_size=1,
        n_positions=1024,
        n_layer=trunk.n_layer,
        n_head=trunk.n_head,
        n_embd=trunk.n_embd,
        n_inner=trunk.n_inner,
        attn_implementation="sdpa",
        bos_token_id=None,
        eos_token_id=None,
    )
    model = GPT2Model(config).eval().requires_grad_(False)
    nn.init.zeros_(model.wpe.weight)
    return model


def compare(name: str, config: PolicyConfig, dtype: str, rows: int, seconds: float) -> list[Comparison]:
    """A step of three tokens and a whole window, in turns."""
    torch.manual_seed(0)
    kept = getattr(torch, dtype)
    computing = computing_dtype(torch.device("cpu"), kept)
    theirs = gpt2(config.trunk)
    ours = _same(theirs, config).to(kept).float()
    stock = StockTrunk(theirs.to(kept), _embedded(ours, config, rows).to(kept))
    stock.remember()
    forward = Forward(config, ours.to(computing), computing, rows)
    passes = {
        "whole window": (forward.fill(), stock.fill),
        "three tokens": (forward.step(), stock.step),
    }
    comparisons = []
    for what, (ours_run, theirs_run) in passes.items():
        last, expected = ours_run().float(), theirs_run().float()
        took = fastest({"ours": ours_run, "theirs": theirs_run}, seconds)
        difference, scale = (last - expected).abs().max().item(), expected.abs().max().item()
        comparisons.append(Comparison(name, dtype, what, rows, took["ours"], took["theirs"], difference, scale))
    return comparisons


def _same(theirs: GPT2Model, config: PolicyConfig) -> LamoModel:
    """A network with the same trunk, whose outputs are the trunk's."""
    trunk = Trunk(config.trunk)
    trunk.load_state_dict(from_gpt2(theirs.state_dict(), config.trunk))
    model = LamoModel(config, trunk).eval().requires_grad_(False)
    model.predict_action = nn.Identity()
    return model


def _embedded(model: LamoModel, config: PolicyConfig, rows: int) -> Tensor:  # [rows, tokens, n_embd]
    """What reaches the trunk."""
    seen: list[Tensor] = []
    hook = model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.last_actions(Scaling(config, unit(config)).collate(full_windows(config, rows)))
    hook.remove()
    return seen[0]


def comparison_table(comparisons: list[Comparison]) -> str:
    """One row per pass."""
    rows = [
        [
            f"{item.policy}, {item.dtype}, {item.what}",
            str(item.rows),
            f"{1000 * item.ours:.2f}",
            f"{1000 * item.theirs:.2f}",
            f"{item.ours / item.theirs:.2f}",
            f"{item.difference:.1e}",
            f"{item.scale:.1f}",
        ]
        for item in comparisons
    ]
    return markdown_table("pass|batch|here ms|transformers ms|ratio|largest difference|largest output", rows)
