"""Comparison: runs side by side, task by task and over all of them, and what speaks against comparing them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from lamo.evaluation import Score
from training.reports.protocols import Protocol, arm_scores
from training.reports.run_scores import RunScores, Setting, runs_of
from training.reports.statistics import Estimate, interquartile_estimate, probability_of_improvement

FIRST_REFERENCE = "lamo"
FAMILIES = ("D4RL data", "Minari data", "other data")
"""Scores of different families are never pooled: their data or their reference returns are not the same."""


@dataclass(frozen=True)
class Section:
    """All runs on one task and data set."""

    task: str
    dataset: str
    runs: tuple[RunScores, ...]

    @property
    def family(self) -> str:
        """Whose data it is, by the prefix of the data set's name."""
        return {"d4rl": FAMILIES[0], "minari": FAMILIES[1]}.get(self.dataset.partition(":")[0], FAMILIES[2])

    @property
    def normalized(self) -> bool:
        """Whether every episode has a normalized score; else raw returns are reported."""
        return all(run.normalized is not None for run in self.runs)

    @property
    def hops(self) -> list[int]:
        """Ascending; everything but the table of hops is of the first."""
        return sorted({run.setting.hop for run in self.runs})

    @property
    def settings(self) -> list[Setting]:
        """One per sample ratio, ascending, at the smallest hop."""
        found = {run.setting for run in self.runs if run.setting.hop == self.hops[0]}
        return sorted(found, key=lambda setting: (setting.sample_ratio is None, setting.sample_ratio))

    def of(self, setting: Setting, arm: str) -> list[RunScores]:
        """The runs of an arm in a setting."""
        return [run for run in self.runs if run.setting == setting and run.arm == arm]


@dataclass(frozen=True)
class Comparison:
    """Runs, as they are to be reported.

    Attributes:
        arms: the reference arm first.
        protocol: the one that figures and tables of a single number use.
    """

    sections: tuple[Section, ...]
    arms: tuple[str, ...]
    protocol: Protocol

    @property
    def reference(self) -> str:
        """What the others are compared with."""
        return self.arms[0]

    @property
    def families(self) -> list[str]:
        """Those there are runs of."""
        return [family for family in FAMILIES if any(section.family == family for section in self.sections)]

    def aggregate(self, family: str, arm: str, protocol: Protocol) -> tuple[Estimate, int] | None:
        """Interquartile mean of an arm over the family's normalized settings, and in how many it ran."""
        strata = [
            arm_scores(runs, protocol, normalized=True).values
            for section, setting in self._settings(family)
            if section.normalized and (runs := section.of(setting, arm))
        ]
        return (interquartile_estimate(strata), len(strata)) if strata else None

    def improvement(self, family: str, arm: str, protocol: Protocol) -> tuple[Estimate, int] | None:
        """Probability that `arm` beats the reference arm, and in how many settings both ran."""
        pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for section, setting in self._settings(family):
            ours, theirs = section.of(setting, arm), section.of(setting, self.reference)
            if ours and theirs:
                ours_values, their_values = (
                    arm_scores(runs, protocol, normalized=section.normalized).values for runs in (ours, theirs)
                )
                pairs.append((ours_values, their_values))
        return (probability_of_improvement(pairs), len(pairs)) if pairs else None

    def covered(self, family: str) -> dict[str, int]:
        """In how many normalized settings of the family each arm ran."""
        settings = [pair for pair in self._settings(family) if pair[0].normalized]
        counts = {arm: sum(bool(section.of(setting, arm)) for section, setting in settings) for arm in self.arms}
        return {arm: count for arm, count in counts.items() if count}

    def _settings(self, family: str) -> Iterator[tuple[Section, Setting]]:
        for section in self.sections:
            if section.family == family:
                yield from ((section, setting) for setting in section.settings)


def compare(scores: Sequence[Score], protocol: Protocol, reference: str | None = None) -> Comparison:
    """Put the runs behind `scores` side by side.

    Args:
        reference: the arm that others are compared with; None for `lamo`, or the first where there is no `lamo`.

    Raises:
        ConfigError: no run of the reference arm.
    """
    runs = runs_of(scores)
    arms = list(dict.fromkeys(run.arm for run in runs))
    chosen = reference or (FIRST_REFERENCE if FIRST_REFERENCE in arms else arms[0])
    if chosen not in arms:
        raise ConfigError(f"no run of {chosen!r} to compare with; there are {', '.join(arms)}")
    sections: dict[tuple[str, str], list[RunScores]] = {}
    for run in runs:
        sections.setdefault((run.setting.task, run.setting.dataset), []).append(run)
    return Comparison(
        tuple(Section(*key, tuple(found)) for key, found in sections.items()),
        (chosen, *(arm for arm in arms if arm != chosen)),
        protocol,
    )


def cautions(section: Section) -> list[str]:
    """What speaks against comparing the runs of a section, a sentence each."""
    name = f"Runs on {section.task}, {section.dataset},"
    found = []
    if len(hashes := dataset_hashes(section.runs)) > 1:
        found.append(
            f"{name} were trained on {len(hashes)} different files ({short(hashes)}): their data is not the same."
        )
    if len(versions := code_versions(section.runs)) > 1:
        found.append(
            f"{name} come from {len(versions)} versions of the code ({short(versions)}): "
            "a difference between arms may be one between versions."
        )
    if len(ends := {int(run.updates[-1]) for run in section.runs if run.updates[-1] >= 0}) > 1:
        found.append(f"{name} end at different updates ({', '.join(map(str, sorted(ends)))}).")
    if _different_episodes(section):
        found.append(f"{name} of the same seed were played on different episodes.")
    if len({frozenset(run.seed for run in group) for group in _by_arm(section)}) > 1:
        found.append(f"{name} do not have the same seeds for every algorithm and sample ratio.")
    if not section.normalized and any(run.normalized is not None for run in section.runs):
        found.append(f"{name} have a normalized score only in part, so all of them are reported as raw returns.")
    return found


def _different_episodes(section: Section) -> bool:
    seen: dict[tuple[Setting, str], frozenset[int]] = {}
    return any(seen.setdefault((run.setting, run.seed), run.episodes) != run.episodes for run in section.runs)


def _by_arm(section: Section) -> Iterable[list[RunScores]]:
    groups: dict[tuple[Setting, str], list[RunScores]] = {}
    for run in section.runs:
        groups.setdefault((run.setting, run.arm), []).append(run)
    return groups.values()


def dataset_hashes(runs: Iterable[RunScores]) -> list[str]:
    """The SHA-256 of every file that some of the runs were trained on, where known."""
    return sorted(frozenset[str]().union(*(run.dataset_hashes for run in runs)))


def code_versions(runs: Iterable[RunScores]) -> list[str]:
    """Every version of the code that trained some of the runs, where known."""
    return sorted(frozenset[str]().union(*(run.code_versions for run in runs)))


def short(words: Sequence[str]) -> str:
    """Hashes, each by its first twelve digits; other words as they are."""
    return ", ".join(re.sub(r"\b([0-9a-f]{12})[0-9a-f]+\b", r"\1", word) for word in words) or "unknown"
