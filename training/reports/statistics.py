"""Statistics: what the scores of a few runs say, and how far other seeds might have taken them.

The estimators are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
Precipice" (NeurIPS 2021, arXiv 2108.13264): interquartile mean, stratified bootstrap, probability of improvement.
A stratum is one task as they call it, here one data set at one sample ratio; its values are one number per run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 10_000
"""Of an interval. Its ends then move by about 0.03 standard errors if another seed draws them."""


@dataclass(frozen=True)
class Estimate:
    """A statistic and its bootstrap interval.

    Attributes:
        low, high: the ends of the 95 % interval; None where a stratum holds a single run. Drawn again, that run
            can only be itself, so an interval would claim certainty about what was tried once.
        runs: how many numbers it rests on.
    """

    value: float
    low: float | None
    high: float | None
    runs: int


def interquartile_mean(
    values: Values,  # [..., runs]
) -> Values:  # [...]
    """Mean of the middle half: a quarter of the values, rounded down, is left out at either end.

    Section 4.3 of Agarwal et al.; rounding down is what their library does, so of three runs it is their mean.
    """
    runs = values.shape[-1]
    cut = runs // 4
    return np.asarray(np.sort(values, axis=-1)[..., cut : runs - cut].mean(axis=-1))


def sample_deviation(values: Values) -> float | None:
    """Standard deviation over runs, with n - 1 in the denominator; None of a single run, which has none."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def interquartile_estimate(strata: Sequence[Values], *, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Interquartile mean over all runs of all strata, with its stratified bootstrap interval.

    Runs are drawn with replacement within each stratum, as many as it holds (section 4.1 of Agarwal et al.);
    the interval lies between the 2.5 and 97.5 % quantiles of the statistic over the resamples.

    Args:
        strata: one array of runs per stratum; they may differ in length.
        seed: of the resampling; the same seed gives the same interval.
    """
    pooled = np.concatenate(strata)
    value = float(interquartile_mean(pooled))
    if not _can_resample(strata):
        return Estimate(value, None, None, len(pooled))
    generator = np.random.default_rng(seed)
    drawn = np.concatenate([resample(values, generator, resamples) for values in strata], axis=1)
    return Estimate(value, *_interval(interquartile_mean(drawn)), len(pooled))


def interquartile_band(
    curves: Values,  # [runs, points]
    *,
    seed: int = 0,
    resamples: int = 2_000,
) -> tuple[Values, Values, Values] | None:  # each [points]
    """Interquartile mean, low and high end at each point of some runs' curves; None of a single run.

    A resample draws whole curves, so that neighbouring points of the band belong together.
    """
    if not _can_resample([curves]):
        return None
    chosen = np.random.default_rng(seed).integers(len(curves), size=(resamples, len(curves)))
    drawn = interquartile_mean(np.moveaxis(curves[chosen], 1, -1))  # [resamples, points]
    low, high = np.quantile(drawn, _TAILS, axis=0)
    return interquartile_mean(curves.T), low, high


def probability_of_improvement(
    pairs: Sequence[tuple[Values, Values]], *, seed: int = 0, resamples: int = 2_000
) -> Estimate:
    """How likely a run of X beats a run of Y on a stratum picked at random; a tie counts half.

    Agarwal et al.'s average probability of improvement: per stratum the Mann-Whitney statistic of the runs, divided
    by the number of pairs; over strata, the mean. The interval resamples X's runs and Y's within each stratum.

    Args:
        pairs: per stratum the runs of X and those of Y.
    """
    value = float(np.mean([win_rate(ours, theirs) for ours, theirs in pairs]))
    runs = sum(len(ours) for ours, _ in pairs)
    if not _can_resample([values for pair in pairs for values in pair]):
        return Estimate(value, None, None, runs)
    generator = np.random.default_rng(seed)
    drawn = [
        win_rate(resample(ours, generator, resamples), resample(theirs, generator, resamples))
        for ours, theirs in pairs
    ]
    return Estimate(value, *_interval(np.mean(drawn, axis=0)), runs)


def win_rate(
    ours: Values,  # [..., n]
    theirs: Values,  # [..., m]
) -> Values:  # [...]
    """Share of the n x m pairs that `ours` wins; a tie is half a win."""
    gaps = ours[..., :, None] - theirs[..., None, :]  # [..., n, m]
    return np.asarray((0.5 * (np.sign(gaps) + 1)).mean(axis=(-2, -1)))


def resample(
    values: Values,  # [runs]
    generator: np.random.Generator,
    resamples: int,
) -> Values:  # [resamples, runs]
    """As many runs as there are, drawn with replacement, again and again."""
    return values[generator.integers(len(values), size=(resamples, len(values)))]


_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


def _interval(drawn: Values) -> tuple[float, float]:
    low, high = np.quantile(drawn, _TAILS)
    return float(low), float(high)


def _can_resample(strata: Sequence[Values]) -> bool:
    return all(len(values) > 1 for values in strata)
