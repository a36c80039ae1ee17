"""ActionError: how far a policy's actions are from recorded ones; without a simulator nothing else can be said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamo.config import ActionSpace
from training.learning.experiment import Experiment
from training.watching.watcher import evaluating, held_out_windows, windows


@dataclass(frozen=True)
class DimensionError:
    """Of one number of the action, in its own unit.

    Attributes:
        unit: empty where the task names none.
        error: root mean squared error of the policy's actions, clipped as they would be executed.
        error_of_mean: that of always answering the mean action of the training trajectories.
    """

    name: str
    unit: str
    error: float
    error_of_mean: float


@dataclass(frozen=True)
class ActionError:
    """Of a whole action.

    Attributes:
        trajectories: which are answered: "held-out", or "training" where none are held out.
        timesteps: how many actions are compared; windows may overlap, then some are compared more than once.
    """

    trajectories: str
    timesteps: int
    dimensions: tuple[DimensionError, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, experiment: Experiment) -> ActionError:
        """The error of an experiment's network as it stands, over evenly spread windows of the trajectories."""
        held_out = held_out_windows(experiment)
        batches = held_out or windows(experiment, experiment.sampler)
        with evaluating(experiment.model):
            proposed = [experiment.model(batch)[batch.attention_mask] for batch in batches]
        answered = torch.cat(proposed).cpu().numpy()  # [timesteps, action_dim]
        recorded = torch.cat([batch.actions[batch.attention_mask] for batch in batches]).cpu().numpy()
        mean = np.concatenate([item.actions for item in experiment.data.trained]).mean(axis=0)  # [action_dim]
        space = experiment.policy_config.action
        errors, of_mean = _root_mean_square(np.clip(answered, space.low, space.high) - recorded), mean - recorded
        numbers = zip(_names(space), _units(space), errors, _root_mean_square(of_mean), strict=True)
        dimensions = tuple(
            DimensionError(name, unit, float(own), float(other)) for name, unit, own, other in numbers
        )
        return cls("held-out" if held_out else "training", len(recorded), dimensions)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ActionError:
        """What a `training.json` says about it; `to_json` is its inverse."""
        dimensions = tuple(DimensionError(**item) for item in document["dimensions"])
        return cls(document["trajectories"], document["timesteps"], dimensions)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """The cells of a table: dimension, unit, error, error of the mean action."""
        return [
            (item.name, item.unit or "–", f"{item.error:.3g}", f"{item.error_of_mean:.3g}")
            for item in self.dimensions
        ]

    @property
    def caption(self) -> str:
        """What a table of it shows."""
        return (
            f"Root mean squared error of {self.timesteps:,} actions, answered in windows spread evenly over the "
            f"{self.trajectories} trajectories, and of always answering the mean action of what was trained on."
        )


HEADER = ("action", "unit", "error", "of the mean action")


def read_action_error(checkpoint: Path) -> ActionError | None:
    """What the `training.json` of a run's checkpoint says; None where there is none, or it was not yet measured."""
    path = checkpoint / "training.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return ActionError.from_json(record["action_error"]) if "action_error" in record else None


def text_table(error: ActionError) -> str:
    """The table for a terminal, under its caption."""
    rows = [HEADER, *error.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return f"{error.caption}\n" + "\n".join(lines) + "\n"


def markdown_table(error: ActionError) -> str:
    """The table in Markdown, over its caption."""
    lines = [f"| {' | '.join(HEADER)} |", "|---|---|---|---|", *(f"| {' | '.join(row)} |" for row in error.rows)]
    return "\n".join(lines) + f"\n\n{error.caption}"


def _root_mean_square(
    differences: NDArray[np.floating[Any]],  # [timesteps, action_dim]
) -> NDArray[np.float64]:  # [action_dim]
    squares: NDArray[np.float64] = np.square(differences.astype(np.float64)).mean(axis=0)
    return np.sqrt(squares)


def _names(space: ActionSpace) -> tuple[str, ...]:
    return space.names or tuple(f"action {index}" for index in range(space.size))


def _units(space: ActionSpace) -> tuple[str, ...]:
    return space.units or ("",) * space.size
