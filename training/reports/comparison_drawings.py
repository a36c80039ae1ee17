"""Comparison drawings: the figures of a comparison, each with a caption that says it in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.reports import bands
from training.reports.bands import Band
from training.reports.comparison import Comparison, Section
from training.reports.comparison_tables import share, unit
from training.reports.protocols import arm_scores, learning_curves
from training.reports.run_scores import RunScores
from training.reports.statistics import Estimate, interquartile_band, interquartile_estimate


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG text, and what it shows, in words."""

    svg: str
    caption: str


def family_intervals(comparison: Comparison, family: str) -> Drawing | None:
    """Interquartile means and probabilities of improvement; None where fewer than two have an interval."""
    score, chance = "IQM of the normalized score", f"P(better than {comparison.reference})"
    panels: dict[str, dict[str, Estimate]] = {score: {}, chance: {}}
    for arm in comparison.arms:
        if aggregate := comparison.aggregate(family, arm, comparison.protocol):
            panels[score][arm] = aggregate[0]
        improvement = comparison.improvement(family, arm, comparison.protocol)
        if arm != comparison.reference and improvement is not None:
            panels[chance][arm] = improvement[0]
    shown = {label: estimates for label, estimates in panels.items() if estimates}
    if sum(estimate.low is not None for estimates in shown.values() for estimate in estimates.values()) < 2:
        return None
    caption = f"Points: estimates; bars: 95 % intervals. Protocol: {comparison.protocol.name}."
    return Drawing(bands.intervals(shown, comparison.arms, chance), caption)


def data_ratios(comparison: Comparison, section: Section) -> Drawing | None:
    """Score against the share of the data; None where there is one share."""
    settings = [setting for setting in section.settings if setting.sample_ratio is not None]
    if len(settings) < 2:
        return None
    drawn = {}
    for arm in comparison.arms:
        points = [
            (setting.sample_ratio, interquartile_estimate([values]))
            for setting in settings
            if (runs := section.of(setting, arm))
            for values in [arm_scores(runs, comparison.protocol, normalized=section.normalized).values]
        ]
        if points:
            drawn[arm] = _estimate_band(points)
    caption = (
        f"{unit(section)} against the share of the data: interquartile mean over runs, band: its 95 % interval. "
        f"Protocol: {comparison.protocol.name}."
    )
    return Drawing(bands.data_ratios(drawn, comparison.arms, unit(section).lower()), caption)


def _estimate_band(points: Sequence[tuple[float | None, Estimate]]) -> Band:
    estimates = [estimate for _, estimate in points]
    ends = np.array([(estimate.value, estimate.low, estimate.high) for estimate in estimates], np.float64)  # [P, 3]
    return Band(np.array([ratio for ratio, _ in points], np.float64), *ends.T)


def learning(comparison: Comparison, section: Section) -> Drawing | None:
    """Learning curves, a panel per sample ratio; None where no run was evaluated twice."""
    panels: dict[str, dict[str, Band]] = {}
    for setting in section.settings:
        for arm in comparison.arms:
            if band := _learning_band(section, section.of(setting, arm)):
                panels.setdefault(f"{share(setting.sample_ratio)} of the data", {})[arm] = band
    if not panels:
        return None
    caption = (
        f"{unit(section)}, mean over target returns, against updates: interquartile mean over runs, "
        "band: its 95 % interval; a line without a band is a single run."
    )
    return Drawing(bands.learning_curves(panels, comparison.arms, unit(section).lower()), caption)


def _learning_band(section: Section, runs: Sequence[RunScores]) -> Band | None:
    if not runs:
        return None
    updates, curves = learning_curves(runs, normalized=section.normalized)
    if len(updates) < 2:
        return None
    middle, low, high = interquartile_band(curves) or (curves[0], None, None)
    return Band(updates.astype(np.float64), middle, low, high)
