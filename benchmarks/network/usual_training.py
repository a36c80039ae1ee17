"""The loop that Decision Transformers are usually trained with: what `train.py` compares this project's with.

`transformers`' DecisionTransformerModel, all of it trained, on batches that Python puts together sample by sample
out of a list of trajectory dictionaries: draw a trajectory and a start, slice, sum the rewards to come, pad on the
left, concatenate.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DecisionTransformerConfig, DecisionTransformerModel

from lamo.batch import Batch
from lamo.config import PolicyConfig
from training.data.trajectories import Trajectories

Tensors = dict[str, torch.Tensor]
"""The model's inputs, and `attention_mask`, 1 at real timesteps."""


class UsualBatches:
    """Draws batches sample by sample."""

    def __init__(self, trajectories: Trajectories, config: PolicyConfig, device: str) -> None:
        self.episodes = [
            {"observations": item.observations, "actions": item.actions, "rewards": item.rewards}
            for item in trajectories
        ]
        lengths = trajectories.lengths
        self.chances = lengths / lengths.sum()
        observations = np.concatenate([episode["observations"] for episode in self.episodes])
        self.mean, self.std = observations.mean(axis=0), observations.std(axis=0) + 1e-6
        self.config = config
        self.device = device

    def draw(self, batch_size: int) -> Tensors:
        """The next batch, on the device."""
        chosen = np.random.choice(len(self.episodes), size=batch_size, p=self.chances)
        rows = [self._row(self.episodes[index]) for index in chosen]
        batch = {name: np.concatenate([row[name] for row in rows], axis=0) for name in rows[0]}
        whole = {"timesteps", "attention_mask"}
        return {
            name: torch.from_numpy(array).to(
                dtype=torch.long if name in whole else torch.float32, device=self.device
            )
            for name, array in batch.items()
        }

    def _row(self, episode: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        length, context = len(episode["rewards"]), self.config.context_length
        start = np.random.randint(0, length)
        end = min(start + context, length)
        states = (episode["observations"][start:end] - self.mean) / self.std
        to_go = _rewards_to_come(episode["rewards"][start:])[: end - start] / self.config.return_scale
        values = {
            "states": states,
            "actions": episode["actions"][start:end],
            "rewards": episode["rewards"][start:end, None],
            "returns_to_go": to_go[:, None],
        }
        padding = context - (end - start)
        row = {name: np.concatenate([np.zeros((padding, item.shape[1])), item]) for name, item in values.items()}
        row["timesteps"] = np.concatenate([np.zeros(padding), np.arange(start, end)])
        row["attention_mask"] = np.concatenate([np.zeros(padding), np.ones(end - start)])
        return {name: item[None] for name, item in row.items()}


def _rewards_to_come(rewards: NDArray[np.generic]) -> NDArray[np.float64]:
    sums = np.zeros(len(rewards))
    total = 0.0
    for step in reversed(range(len(rewards))):
        total += rewards[step]
        sums[step] = total
    return sums


def usual_model(config: PolicyConfig, dropout: float) -> DecisionTransformerModel:
    """A Decision Transformer of the policy's size."""
    trunk = config.trunk
    return DecisionTransformerModel(
        DecisionTransformerConfig(
            state_dim=config.observation.size,
            act_dim=config.action.size,
            hidden_size=trunk.n_embd,
            max_ep_len=config.timestep_table_size,
            n_layer=trunk.n_layer,
            n_head=trunk.n_head,
            n_inner=trunk.n_inner,
            activation_function=trunk.activation_function,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
        )
    )


def usual_update(model: DecisionTransformerModel, draw: Callable[[], Tensors]) -> Callable[[], None]:
    """One update of everything in the model per call."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-5)
    model.train()

    def update() -> None:
        batch = draw()
        proposed = model(**batch).action_preds
        real = batch["attention_mask"].reshape(-1) > 0
        actions = batch["actions"].reshape(-1, proposed.shape[-1])
        loss = torch.mean((proposed.reshape(-1, proposed.shape[-1])[real] - actions[real]) ** 2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        loss.detach().cpu().item()  # as is usual, for the log

    return update


def as_usual(batch: Batch) -> Tensors:
    """A batch of this project's as the model's inputs."""
    return {
        "states": batch.states,
        "actions": batch.actions,
        "rewards": torch.zeros_like(batch.returns_to_go),
        "returns_to_go": batch.returns_to_go,
        "timesteps": batch.timesteps,
        "attention_mask": batch.attention_mask.long(),
    }
