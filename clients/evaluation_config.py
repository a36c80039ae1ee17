"""EvaluationConfig: the settings of one batch evaluation; saved beside its results."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError


@dataclass(frozen=True)
class EvaluationConfig:
    """One batch evaluation.

    Attributes:
        url: where the service listens.
        policy: "name" or "name@revision".
        out: the folder the results are written to.
        environment: Gymnasium id, `module:id` where a module registers it; the policy's own if None.
        episodes: how many are played per target return.
        parallel: how many are played side by side.
        target_returns: raw; the policy's own if empty.
        seed: every target return meets the same environment seeds, derived from this one.
        deadline_seconds: how long one call may take in all: the longest restart of the service to sit out.
        traces: whether observations, actions and rewards of every episode are kept.
        ca_file: certificates to trust instead of the public ones.
        api_key: shown and saved nowhere.
    """

    url: str
    policy: str
    out: Path
    environment: str | None = None
    episodes: int = 20
    parallel: int = 64
    target_returns: tuple[float, ...] = ()
    seed: int = 0
    deadline_seconds: float = 60.0
    traces: bool = False
    ca_file: Path | None = None
    api_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ConfigError(f"cannot play {self.parallel} episodes side by side: at least 1")
        for target_return in self.target_returns:
            if not math.isfinite(target_return):
                raise ConfigError(f"target return {target_return} is not finite")
        if len(set(self.target_returns)) < len(self.target_returns):
            raise ConfigError(f"target returns {list(self.target_returns)} name one of them twice")

    def to_json(self) -> dict[str, Any]:
        """These settings as JSON values, without the key."""
        settings = {**asdict(self), "out": str(self.out), "ca_file": self.ca_file and str(self.ca_file)}
        del settings["api_key"]
        return settings
