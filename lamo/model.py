"""LamoModel: the whole network of a policy: embeddings, trunk, action head.

The Decision Transformer of Chen et al. (2021) with the changes of LaMo (Shi et al., ICLR 2024, section 4): a
pretrained trunk, and MLPs where the Decision Transformer has linear maps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lamo.batch import Batch, stack_tokens, state_token
from lamo.config import PolicyConfig
from lamo.errors import ConfigError
from lamo.trunk import Trunk


class MlpEmbedding(nn.Module):
    """h = fc1(x); h + fc2(GELU(h))."""

    def __init__(self, n_in: int, n_embd: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_in, n_embd)
        self.fc2 = nn.Linear(n_embd, n_embd)

    def forward(
        self,
        x: Tensor,  # [..., n_in]
    ) -> Tensor:  # [..., n_embd]
        """One token per row of numbers."""
        hidden = self.fc1(x)
        embedded: Tensor = hidden + self.fc2(functional.gelu(hidden))
        return embedded


class MlpHead(nn.Module):
    """fc2(GELU(fc1(x))), unbounded: actions are clipped to the action space on the way out."""

    def __init__(self, n_embd: int, n_out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_embd, n_embd)
        self.fc2 = nn.Linear(n_embd, n_out)

    def forward(
        self,
        hidden: Tensor,  # [..., n_embd]
    ) -> Tensor:  # [..., n_out]
        """One action per token."""
        actions: Tensor = self.fc2(functional.gelu(self.fc1(hidden)))
        return actions


class LamoModel(nn.Module):
    """Returns-to-go, states and actions in, one action per timestep out.

    Submodules are named as in the reference (`embed_*`, `predict_*`): all of those train, the trunk only through
    LoRA. Its heads for states and returns, which nothing uses, are left out.
    """

    def __init__(self, config: PolicyConfig, trunk: Trunk | None = None) -> None:
        super().__init__()
        if config.trunk is None:
            raise ConfigError(f"policy {config.task!r} has no trunk")
        n_embd = config.trunk.n_embd
        mlp = config.embedding == "mlp"
        embedding = MlpEmbedding if mlp else nn.Linear
        self.norm_first = config.timestep_order == "after_norm"
        # N(0, 1), as nn.Embedding's own; drawn here because its way costs two seconds of imports on the meta
        # device, which every start of a service would pay.
        table = torch.randn(config.timestep_table_size, n_embd)
        self.embed_timestep = nn.Embedding.from_pretrained(table, freeze=False)  # type: ignore[no-untyped-call]
        self.embed_return = embedding(1, n_embd)
        self.embed_state = embedding(config.observation.size, n_embd)
        self.embed_action = embedding(config.action.size, n_embd)
        self.embed_ln = nn.LayerNorm(n_embd)
        self.trunk = trunk if trunk is not None else Trunk(config.trunk)
        action_dim = config.action.size
        self.predict_action = (
            MlpHead(n_embd, action_dim) if mlp else nn.Sequential(nn.Linear(n_embd, action_dim), nn.Tanh())
        )

    def forward(self, batch: Batch) -> Tensor:  # [batch, timesteps, action_dim]
        """The proposed action at every timestep."""
        timesteps = torch.arange(batch.timesteps.shape[1], device=batch.timesteps.device)
        return self._actions(batch, state_token(timesteps[None]))

    def last_actions(self, batch: Batch) -> Tensor:  # [batch, action_dim]
        """The proposed action at the last real timestep of every row."""
        return self._actions(batch, state_token(batch.lengths[:, None] - 1)).squeeze(1)

    def _actions(
        self,
        batch: Batch,
        read: Tensor,  # [batch or 1, reads] int64, state tokens
    ) -> Tensor:  # [batch, reads, action_dim]
        tokens = self._tokens(batch)[:, :-1]  # the last action's token is seen by no state's
        actions: Tensor = self.predict_action(self.trunk(tokens, read))
        return actions

    def _tokens(self, batch: Batch) -> Tensor:  # [batch, 3 * timesteps, n_embd]
        time = self.embed_timestep(batch.timesteps).unsqueeze(2)  # [batch, timesteps, 1, n_embd]
        tokens = stack_tokens(
            self.embed_return(batch.returns_to_go),
            self.embed_state(batch.states),
            self.embed_action(batch.actions),
        )  # [batch, timesteps, 3, n_embd]
        if self.norm_first:
            normed: Tensor = self.embed_ln(tokens) + time
        else:
            normed = self.embed_ln(tokens + time)
        return normed.flatten(1, 2)
