"""Normalization: the training data's mean and standard deviation, which travel with the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError

STD_OFFSET = 1e-6
"""Added to every standard deviation, as the reference does."""

CONSTANT_STD = 1e-4
"""A dimension that varies less than this is constant in the data: dividing by it would turn the smallest
surprise at serving time into an enormous state, so it is only centred."""


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of the observations a policy was trained on, [observation_dim] float64."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        observations: NDArray[np.float32],  # [timesteps, observation_dim]
    ) -> Normalization:
        """The statistics of a data set; constant dimensions get a standard deviation of 1."""
        mean = observations.mean(axis=0, dtype=np.float64)
        std = observations.std(axis=0, dtype=np.float64)
        return cls(mean, np.where(std < CONSTANT_STD, 1.0, std + STD_OFFSET))

    def zscore(
        self,
        observation: NDArray[np.float32],  # [observation_dim]
    ) -> float:
        """Largest deviation of an observation from the training data, in standard deviations."""
        return float(np.abs((observation - self.mean) / self.std).max())

    def to_json(self) -> dict[str, list[float]]:
        """JSON values; float64 survives the round trip exactly."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], size: int) -> Normalization:
        """The statistics a `normalization.json` holds.

        Raises:
            ConfigError: not `size` finite numbers each, or a standard deviation that is not positive.
        """
        arrays = {}
        for name in ("mean", "std"):
            try:
                arrays[name] = np.asarray(document[name], np.float64)
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigError(f"{name} is missing or not a list of numbers") from error
            if arrays[name].shape != (size,) or not np.isfinite(arrays[name]).all():
                raise ConfigError(f"{name} is not {size} finite numbers (shape {list(arrays[name].shape)})")
        if not (arrays["std"] > 0).all():
            raise ConfigError("std is not positive in every dimension")
        return cls(**arrays)
