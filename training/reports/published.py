"""Published scores of the LaMo paper on D4RL's data, to stand beside runs on the very same data sets.

Source: Shi et al., "Unleashing the Power of Pre-trained Language Models for Offline Reinforcement Learning"
(ICLR 2024, arXiv 2310.20587), the tables of Kitchen and of the medium data sets of Hopper, Walker2d and
HalfCheetah: normalized scores, mean over 3 seeds of the last 8 evaluations at the best target return, which is the
protocol `paper` here. The best of the other methods is the best of CQL, IQL, TD3+BC and BC in those tables.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple


class PublishedScores(NamedTuple):
    """Normalized scores on one data set at one sample ratio."""

    lamo: float
    without_pretraining: float
    dt: float
    best_other: float


NAMES = ("LaMo", "LaMo, random frozen trunk", "DT", "best of CQL, IQL, TD3+BC and BC")

ARMS = MappingProxyType({"lamo": "lamo", "random trunk": "without_pretraining", "dt": "dt"})
"""Arms of ours that carry out what a published column names, by the field of `PublishedScores`."""

_BY_DATASET: dict[str, dict[float, PublishedScores]] = {
    "d4rl:kitchen-complete-v0": {
        0.3: PublishedScores(45.9, 42.4, 31.5, 29.5),
        0.5: PublishedScores(50.6, 56.8, 36.6, 35.4),
        1.0: PublishedScores(64.2, 51.8, 52.8, 30.0),
    },
    "d4rl:kitchen-partial-v0": {
        0.01: PublishedScores(11.6, 9.8, 0.9, 13.9),
        0.1: PublishedScores(35.1, 24.8, 22.6, 19.7),
        1.0: PublishedScores(46.6, 43.6, 33.8, 45.7),
    },
    "d4rl:hopper-medium-v2": {
        0.005: PublishedScores(57.0, 43.5, 35.8, 47.0),
        0.01: PublishedScores(52.0, 46.0, 41.9, 51.3),
        0.1: PublishedScores(73.7, 57.7, 57.3, 59.8),
        1.0: PublishedScores(74.1, 64.5, 60.9, 62.8),
    },
    "d4rl:walker2d-medium-v2": {
        0.005: PublishedScores(66.9, 57.0, 16.7, 51.9),
        0.01: PublishedScores(74.5, 74.2, 38.9, 69.7),
        0.1: PublishedScores(70.4, 70.9, 70.2, 75.2),
        1.0: PublishedScores(73.3, 69.8, 70.2, 84.0),
    },
    "d4rl:halfcheetah-medium-v2": {
        0.005: PublishedScores(39.0, 39.2, 22.4, 40.5),
        0.01: PublishedScores(40.6, 40.6, 29.6, 41.9),
        0.1: PublishedScores(42.1, 41.4, 41.7, 48.3),
        1.0: PublishedScores(42.5, 42.8, 42.6, 48.3),
    },
}


def published_scores(dataset: str, sample_ratio: float | None) -> PublishedScores | None:
    """What was published on this data set at this ratio, or None; data that is not D4RL's own has nothing."""
    if not dataset.startswith("d4rl:") or sample_ratio is None:
        return None
    return _BY_DATASET.get(dataset, {}).get(sample_ratio)


def published_score(dataset: str, sample_ratio: float | None, arm: str) -> float | None:
    """The published score of one of our arms, where there is one."""
    scores = published_scores(dataset, sample_ratio)
    field = ARMS.get(arm)
    return None if scores is None or field is None else float(getattr(scores, field))
