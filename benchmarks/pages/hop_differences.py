"""HopDifferences: what the hops of a task's policies scored, and their paired differences to hop 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from lamo.evaluation import Score
from training.reports.statistics import CONFIDENCE, RESAMPLES, Values, resample


@dataclass(frozen=True)
class Difference:
    """A mean difference and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class HopScore:
    """One hop, of one policy or of several together.

    Attributes:
        mean_return, standard_error: raw; of several policies their episodes count alike, policy by policy.
        normalized_score: mean.
        difference: of the episode return to hop 1, episode by episode; None of hop 1 itself.
        normalized_difference: the same in points of the normalized score.
    """

    hop: int
    episodes: int
    mean_return: float
    standard_error: float
    normalized_score: float
    difference: Difference | None
    normalized_difference: Difference | None


@dataclass(frozen=True)
class HopDifferences:
    """The episodes of a task: policies of several training seeds, each played at the same hops.

    Attributes:
        hops: ascending, hop 1 first.
        returns, normalized: one array [hops, episodes] per policy; an episode seed has the same column in all rows.
        dataset: name and identity of what the policies were trained on.
    """

    task: str
    dataset: str
    target_return: float
    seeds: tuple[int, ...]
    hops: tuple[int, ...]
    returns: tuple[Values, ...]
    normalized: tuple[Values, ...]

    @classmethod
    def of(cls, policies: Sequence[Sequence[Score]]) -> Self:
        """The episodes of each policy, every hop on the same episode seeds."""
        first = policies[0][0]
        tables = [_by_hop(scores) for scores in policies]
        return cls(
            task=first.task,
            dataset=f"{first.dataset}, SHA-256 {first.dataset_hash[:12]}",
            target_return=first.target_return,
            seeds=tuple(scores[0].seed or 0 for scores in policies),
            hops=tuple(tables[0]),
            returns=tuple(_column(table, "episode_return") for table in tables),
            normalized=tuple(_column(table, "normalized_score") for table in tables),
        )

    def of_policy(self, index: int) -> list[HopScore]:
        """Every hop of one policy."""
        return self._rows(self.returns[index : index + 1], self.normalized[index : index + 1])

    def of_all(self) -> list[HopScore]:
        """Every hop of all policies together."""
        return self._rows(self.returns, self.normalized)

    def _rows(self, returns: Sequence[Values], normalized: Sequence[Values]) -> list[HopScore]:
        rows = []
        for row, hop in enumerate(self.hops):
            at_hop = [values[row] for values in returns]
            rows.append(
                HopScore(
                    hop=hop,
                    episodes=sum(map(len, at_hop)),
                    mean_return=_mean(at_hop),
                    standard_error=_standard_error(at_hop),
                    normalized_score=_mean([values[row] for values in normalized]),
                    difference=_paired(returns, row) if row else None,
                    normalized_difference=_paired(normalized, row) if row else None,
                )
            )
        return rows


def mean_difference(strata: Sequence[Values], *, seed: int = 0, resamples: int = RESAMPLES) -> Difference:
    """Mean over the strata of their means, with its percentile bootstrap interval, drawn within each stratum."""
    generator = np.random.default_rng(seed)
    drawn = np.mean([resample(values, generator, resamples).mean(axis=-1) for values in strata], axis=0)
    low, high = np.quantile(drawn, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Difference(_mean(strata), float(low), float(high))


def _paired(tables: Sequence[Values], row: int) -> Difference:
    """Of that hop to hop 1, which is row 0."""
    return mean_difference([values[row] - values[0] for values in tables])


def _mean(strata: Sequence[Values]) -> float:
    return float(np.mean([values.mean() for values in strata]))


def _standard_error(strata: Sequence[Values]) -> float:
    squares = [values.var(ddof=1) / len(values) for values in strata]
    return float(np.sqrt(np.sum(squares)) / len(strata))


def _by_hop(scores: Sequence[Score]) -> dict[int, list[Score]]:
    """The episodes of each hop, ascending, in one order of their seeds."""
    hops: dict[int, list[Score]] = {hop: [] for hop in sorted({score.hop for score in scores})}
    for score in sorted(scores, key=lambda score: score.episode_seed):
        hops[score.hop].append(score)
    return hops


def _column(table: dict[int, list[Score]], name: str) -> Values:  # [hops, episodes]
    return np.array([[getattr(score, name) for score in scores] for scores in table.values()], np.float64)
