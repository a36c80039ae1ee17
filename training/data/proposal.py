"""Proposes a task from a data set: a TOML file to begin with, a comment on every line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from numpy.typing import NDArray
from tomlkit.items import Item

from training.data import environment_spec
from training.data.trajectories import Trajectories

USUAL_CONTEXT_LENGTH = 20
TARGET_QUANTILES = (1.0, 0.9, 0.75, 0.5)
DIGITS = 6
"""Significant digits of targets and bounds; more would say nothing and be hard to read."""

COMMENTS: Mapping[str, str] = {
    "env": "the simulator it is evaluated in: Gymnasium's name, module:name, or a whole EnvSpec",
    "dataset": "what it is trained on: `lamo-train data inspect` reads the same name",
    "context_length": "timesteps the policy sees: more is slower, and longer than an episode is of no use",
    "target_returns": "returns to ask for: the data's best, and its 90, 75 and 50 % quantiles",
    "return_scale": "returns are divided by it, so that the network sees numbers from 1 to 10",
    "max_episode_length": "the most steps an episode may have",
    "reference_returns": "returns of a random policy and of an expert: scores 0 and 100",
    "step_seconds": "how long one timestep lasts",
    "action_low": "no simulator says what the actions may be: these are the least in the data; widen them if safe",
    "action_high": "and these the greatest; the policy never goes beyond",
    "names": "what each number is, in its order",
    "units": "and what it is counted in",
}


@dataclass(frozen=True)
class Proposal:
    """What a data set says about the task it was recorded in; None: nothing.

    Attributes:
        env: the environment as text (see `environment_spec`).
        dataset: the name that `sources.read` takes; in the file, a path is told from the file's folder.
        context_length: at most the median episode's length.
        target_returns: different from each other, highest first.
        return_scale: a power of ten.
        max_episode_length: the longest episode's, or the environment's limit where that is higher.
        reference_returns: of a random policy and of an expert.
        step_seconds: duration of a timestep.
        action_low: least of each action in the data, where no environment says; flattened.
        action_high: greatest of each.
        names: of observations and actions.
        units: of them.
    """

    env: str | None
    dataset: str
    context_length: int
    target_returns: tuple[float, ...]
    return_scale: float
    max_episode_length: int
    reference_returns: Mapping[str, float] | None
    step_seconds: float | None
    action_low: tuple[float, ...] | None
    action_high: tuple[float, ...] | None
    names: Mapping[str, list[str]] | None
    units: Mapping[str, list[str]] | None

    @classmethod
    def of(cls, trajectories: Trajectories) -> Proposal:
        """The proposal for a data set."""
        about = trajectories.attributes
        env = about.get("environment")
        spec = environment_spec.find(env) if env else None
        limit = spec.max_episode_steps if spec is not None else None
        actions = np.concatenate([trajectory.actions for trajectory in trajectories])  # [steps, action_dim]
        targets = target_returns(trajectories.episode_returns)
        return cls(
            env=env,
            dataset=trajectories.source,
            context_length=max(1, min(USUAL_CONTEXT_LENGTH, int(np.median(trajectories.lengths)))),
            target_returns=targets,
            return_scale=return_scale(targets),
            max_episode_length=max(int(trajectories.lengths.max()), limit or 0),
            reference_returns=_reference_returns(about),
            step_seconds=float(about["step_seconds"]) if "step_seconds" in about else None,
            action_low=None if env else _outward(actions.min(axis=0), -1),
            action_high=None if env else _outward(actions.max(axis=0), +1),
            names=json.loads(about["names"]) if "names" in about else None,
            units=json.loads(about["units"]) if "units" in about else None,
        )

    def toml(self, folder: Path) -> str:
        """The task file that is to lie in `folder`; what the data does not say is named in comments."""
        document = tomlkit.document()
        document.add(tomlkit.comment(f"Proposed from {self.dataset}; read it through before training."))
        for key, comment in COMMENTS.items():
            value = _from(folder, self.dataset) if key == "dataset" else getattr(self, key)
            if value is not None:
                document.add(key, _item(value).comment(comment))
            elif key not in ("action_low", "action_high"):  # which the environment says
                document.add(tomlkit.comment(f"{key} is not known: {comment}"))
        return tomlkit.dumps(document)


def target_returns(
    episode_returns: NDArray[np.float64],  # [trajectories]
) -> tuple[float, ...]:
    """The maximum and the 90, 75 and 50 % quantiles, those that are different, highest first."""
    quantiles = [_rounded(value) for value in np.quantile(episode_returns, TARGET_QUANTILES)]
    return tuple(sorted(set(quantiles), reverse=True))


def return_scale(targets: tuple[float, ...]) -> float:
    """The power of ten that brings the largest magnitude among the targets into [1, 10).

    1 where all are 0, or so near to it that a float has no such power.
    """
    largest = max(abs(target) for target in targets)
    scale = float(f"1e{math.floor(math.log10(largest))}") if largest > 0 else 0.0
    return scale or 1.0


def _from(folder: Path, dataset: str) -> str:
    """A set's id as it is, a file's path as it is seen from `folder`."""
    return dataset if ":" in dataset else os.path.relpath(Path(dataset).resolve(), folder.resolve())


def _reference_returns(about: Mapping[str, str]) -> dict[str, float] | None:
    if not {"reference_random", "reference_expert"} <= about.keys():
        return None
    references = {"random": float(about["reference_random"]), "expert": float(about["reference_expert"])}
    return references if references["random"] != references["expert"] else None


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}") + 0.0  # and no -0


def _outward(
    extremes: NDArray[np.float32],  # [action_dim]
    direction: int,
) -> tuple[float, ...]:
    """Rounded away from the data, so that no recorded action lies outside in the precision of actions."""
    rounded = []
    for value in extremes.tolist():
        step = 10.0 ** (math.floor(math.log10(abs(value))) - DIGITS + 1) if value else 1.0
        number = _rounded(value)
        inside = (np.float32(number) - np.float32(value)) * direction < 0
        rounded.append(_rounded(number + direction * step) if inside else number)
    return tuple(rounded)


def _item(value: Any) -> Item:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        table.update(value)
        return table
    item: Item = tomlkit.item(list(value) if isinstance(value, tuple) else value)
    return item
