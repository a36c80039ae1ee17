"""Comparison tables: what a comparison comes to, as cells of text for HTML and Markdown alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.reports.comparison import Comparison, Section, code_versions, dataset_hashes, short
from training.reports.protocols import LAST, PAPER, PAPER_EVALUATIONS, PROTOCOLS, arm_scores, drops
from training.reports.published import NAMES, published_score, published_scores
from training.reports.run_scores import RunScores, Setting
from training.reports.statistics import Estimate, interquartile_estimate, sample_deviation

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A caption, a header and rows of text; the first `labels` columns say what a row is about."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int


def aggregates(comparison: Comparison, family: str) -> Table | None:
    """Interquartile means over the family's normalized settings under each protocol; None without any."""
    rows = []
    for arm in comparison.arms:
        found = [comparison.aggregate(family, arm, protocol) for protocol in PROTOCOLS]
        if found[0] is not None:
            estimates = [estimate for estimate, _ in filter(None, found)]
            rows.append((arm, str(found[0][1]), str(estimates[0].runs), *map(interval, estimates)))
    header = ("algorithm", "settings", "runs", *(protocol.name for protocol in PROTOCOLS))
    caption = "Interquartile mean of the normalized score over all runs, with its 95 % interval"
    return Table(caption, header, tuple(rows), 1) if rows else None


def improvements(comparison: Comparison, family: str) -> Table | None:
    """Probability of improvement over the reference arm under each protocol; None without another arm."""
    rows = []
    for arm in comparison.arms[1:]:
        found = [comparison.improvement(family, arm, protocol) for protocol in PROTOCOLS]
        if found[0] is not None:
            cells = (interval(estimate, 2) for estimate, _ in filter(None, found))
            rows.append((arm, str(found[0][1]), *cells))
    header = ("algorithm", "settings", *(protocol.name for protocol in PROTOCOLS))
    caption = f"Probability that a run scores above one of {comparison.reference}, with its 95 % interval"
    return Table(caption, header, tuple(rows), 1) if rows else None


def protocols(section: Section, comparison: Comparison, *, published: bool) -> Table:
    """A row per sample ratio and algorithm, the protocols side by side."""
    rows = []
    decimals = decimals_of(section)
    for setting, arm, runs in _groups(section, comparison):
        values = [arm_scores(runs, protocol, normalized=section.normalized).values for protocol in PROTOCOLS]
        chosen = arm_scores(runs, comparison.protocol, normalized=section.normalized).values
        row = [share(setting.sample_ratio), arm, str(len(runs)), *(spread(value, decimals) for value in values)]
        row.append(interval(interquartile_estimate([chosen]), decimals))
        row.append(spread(drops(runs, normalized=section.normalized), decimals))
        if published:
            score = published_score(section.dataset, setting.sample_ratio, arm)
            row.append(NOTHING if score is None else f"{score:.1f}")
        rows.append(tuple(row))
    iqm = f"IQM [95 %] of {comparison.protocol.name}"
    header = ["data", "algorithm", "runs", *(protocol.name for protocol in PROTOCOLS), iqm, "drop"]
    header += ["published"] if published else []
    return Table(f"{unit(section)}: mean ± standard deviation over runs", tuple(header), tuple(rows), 2)


def published_elsewhere(section: Section) -> Table:
    """All that the LaMo paper gives for the section's data set, at the ratios there are runs of."""
    rows = [
        (share(setting.sample_ratio), *(f"{score:.1f}" for score in scores))
        for setting in section.settings
        if (scores := published_scores(section.dataset, setting.sample_ratio))
    ]
    caption = "Published on this data set (Shi et al. 2024): normalized score, protocol paper, mean over 3 seeds"
    return Table(caption, ("data", *NAMES), tuple(rows), 1)


def ratios(section: Section, comparison: Comparison) -> Table | None:
    """Algorithms against sample ratios under the comparison's protocol; None where there is one ratio."""
    if len(section.settings) < 2:
        return None
    rows = []
    for arm in comparison.arms:
        cells = [_cell(section.of(setting, arm), section, comparison) for setting in section.settings]
        if any(cell != NOTHING for cell in cells):
            rows.append((arm, *cells))
    header = ("algorithm", *(share(setting.sample_ratio) for setting in section.settings))
    caption = f"{unit(section)} by share of the data, {comparison.protocol.name}: mean ± standard deviation (runs)"
    return Table(caption, header, tuple(rows), 1)


def hops(section: Section, comparison: Comparison) -> Table | None:
    """Scores against the window's hop under the comparison's protocol; None where there is one hop."""
    if len(section.hops) < 2:
        return None
    rows = []
    several = {_where(run.setting) for run in section.runs if run.setting.hop != section.hops[0]}
    for setting, arm, _ in _groups(section, comparison):
        if _where(setting) not in several:
            continue
        cells = [
            _cell(section.of(Setting(*_where(setting), hop), arm), section, comparison) for hop in section.hops
        ]
        rows.append((share(setting.sample_ratio), arm, *cells))
    header = ("data", "algorithm", *(f"hop {hop}" for hop in section.hops))
    caption = f"{unit(section)} by hop, {comparison.protocol.name}: mean ± standard deviation (runs)"
    return Table(caption, header, tuple(rows), 2)


def origins(section: Section, comparison: Comparison) -> Table:
    """Where the numbers come from: seeds, updates, evaluations, targets; data and code where they differ."""
    columns = {"data SHA-256": dataset_hashes, "code": code_versions}
    differing = {words: name for name, words in columns.items() if len(words(section.runs)) > 1}
    rows = []
    for setting, arm, runs in _groups(section, comparison):
        last, paper = (arm_scores(runs, protocol, normalized=section.normalized) for protocol in (LAST, PAPER))
        rows.append(
            (
                share(setting.sample_ratio),
                arm,
                ", ".join(run.seed for run in runs),
                _range(int(run.updates[-1]) for run in runs).replace("-1", NOTHING),
                f"{_range(paper.evaluations)} of {PAPER_EVALUATIONS}",
                ", ".join(f"{target:g}" for target in _targets(runs)),
                f"{last.target_return:g} / {paper.target_return:g}",
                str(sum(run.episodes_played for run in runs)),
                *(short(words(runs)) for words in differing),
            )
        )
    header = ("data", "algorithm", "seeds", "updates", "paper's evaluations", "targets", "best: last / paper")
    return Table("What was compared", (*header, "episodes", *differing.values()), tuple(rows), 2)


def unit(section: Section) -> str:
    """What the numbers of a section are."""
    return "Normalized score" if section.normalized else "Episode return (raw)"


def share(sample_ratio: float | None) -> str:
    """A sample ratio in per cent."""
    return NOTHING if sample_ratio is None else f"{100 * sample_ratio:g} %"


def spread(values: NDArray[np.float64], decimals: int = 1) -> str:
    """Mean and standard deviation over runs; the mean alone of a single run."""
    deviation = sample_deviation(values)
    mean = f"{values.mean():.{decimals}f}"
    return mean if deviation is None else f"{mean} ± {deviation:.{decimals}f}"


def interval(estimate: Estimate, decimals: int = 1) -> str:
    """An estimate with its interval, or the estimate alone where there is none."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{decimals}f} [no interval]"
    return f"{estimate.value:.{decimals}f} [{estimate.low:.{decimals}f}, {estimate.high:.{decimals}f}]"


def decimals_of(section: Section) -> int:
    """One decimal of a normalized score; of raw returns as many as show three digits of the largest."""
    if section.normalized:
        return 1
    largest = max(float(np.nanmax(np.abs(run.returns))) for run in section.runs)
    return 1 if largest == 0 else int(np.clip(2 - np.floor(np.log10(largest)), 1, 6))


def _groups(section: Section, comparison: Comparison) -> Iterator[tuple[Setting, str, list[RunScores]]]:
    for setting in section.settings:
        for arm in comparison.arms:
            if runs := section.of(setting, arm):
                yield setting, arm, runs


def _cell(runs: Sequence[RunScores], section: Section, comparison: Comparison) -> str:
    if not runs:
        return NOTHING
    values = arm_scores(runs, comparison.protocol, normalized=section.normalized).values
    return f"{spread(values, decimals_of(section))} ({len(values)})"


def _where(setting: Setting) -> tuple[str, str, float | None]:
    return setting.task, setting.dataset, setting.sample_ratio


def _range(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def _targets(runs: Sequence[RunScores]) -> list[float]:
    return sorted({float(target) for run in runs for target in run.target_returns}, reverse=True)
