"""Watcher: looks at a run while it trains, and leaves it as it was: no draw, no gradient, no dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from lamo.batch import Batch
from lamo.cloning import BehaviorCloning
from lamo.network import Network
from training.data.sampling import SubtrajectorySampler
from training.learning.experiment import Experiment
from training.learning.losses import action_loss
from training.learning.meter import Reading
from training.watching.evaluations import Evaluation
from training.watching.update_norm import UpdateNorm
from training.watching.watch import Watch

WINDOWS = 256
"""At most so many cuts are looked at of the trained and of the held-out trajectories, evenly spread over each."""

WINDOWS_AT_ONCE = 64


class Watcher:
    """Looks at one run.

    Args:
        experiment: before its first update, also where a snapshot is about to be restored.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._trained = windows(experiment, experiment.sampler)
        self._held_out = held_out_windows(experiment)
        self._update_norm = UpdateNorm(experiment.model)

    def look(self, update: int, reading: Reading, evaluations: Sequence[Evaluation]) -> Watch:
        """The run after an update.

        Args:
            evaluations: so far, of which the last may be of this update.
        """
        model = self._experiment.model
        current = next((item for item in evaluations if item.update == update), None)
        with evaluating(model):
            return Watch(
                update=update,
                training_action_loss=mean_action_loss(model, self._trained),
                held_out_action_loss=mean_action_loss(model, self._held_out) if self._held_out else None,
                language_loss=self._language_loss(),
                update_norm=self._update_norm.measure(),
                score=None if current is None else current.score,
                score_drop=None if current is None else max(item.score for item in evaluations) - current.score,
                updates_per_second=reading.updates_per_second,
                peak_memory_bytes=reading.peak_memory_bytes,
                trained_parameters=self._experiment.learner.trained_parameters,
            )

    def _language_loss(self) -> float | None:
        model, ability = self._experiment.model, self._experiment.language_ability
        return None if ability is None or isinstance(model, BehaviorCloning) else ability.loss(model.trunk)


def held_out_windows(experiment: Experiment) -> list[Batch]:
    """Windows of the held-out trajectories; none where none are held out."""
    held_out = experiment.data.held_out
    if held_out is None:
        return []
    never_drawn_from = np.random.default_rng(0)
    length = experiment.policy_config.context_length
    return windows(experiment, SubtrajectorySampler(held_out, length, never_drawn_from))


def windows(experiment: Experiment, sampler: SubtrajectorySampler) -> list[Batch]:
    """At most `WINDOWS` cuts, evenly spread over the sampler's trajectories."""
    count = min(WINDOWS, sampler.steps)
    starts = np.linspace(0, sampler.steps - 1, count).astype(np.int64)
    parts = np.array_split(starts, -(-count // WINDOWS_AT_ONCE))
    return [experiment.batch(sampler.cut(part)) for part in parts]


@torch.no_grad()
def mean_action_loss(model: Network, batches: Sequence[Batch]) -> float:
    """The action loss over all real timesteps of the batches."""
    losses = [action_loss(model(batch), batch.actions, batch.attention_mask) for batch in batches]
    weights = [batch.lengths.sum() for batch in batches]
    return float((torch.stack(losses) * torch.stack(weights)).sum() / torch.stack(weights).sum())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout, and afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
