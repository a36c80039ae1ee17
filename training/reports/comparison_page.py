"""Comparison page: a comparison of runs as one self-contained HTML page, and as Markdown beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import jinja2

from training.reports.comparison import (
    FAMILIES,
    Comparison,
    Section,
    cautions,
    code_versions,
    dataset_hashes,
    short,
)
from training.reports.comparison_drawings import Drawing, data_ratios, family_intervals, learning
from training.reports.comparison_tables import (
    Table,
    aggregates,
    hops,
    improvements,
    origins,
    protocols,
    published_elsewhere,
    ratios,
)
from training.reports.protocols import PROTOCOLS
from training.reports.published import published_scores
from training.reports.statistics import Estimate

READING = {
    "mean ± standard deviation": "over the runs (training seeds) of an algorithm, n − 1 in the denominator; "
    "a mean without one is a single run.",
    "interquartile mean (IQM)": "the mean of the runs that are left when the best and the worst quarter are taken "
    "away (rounded down: of three runs, none).",
    "95 % interval": "from stratified bootstrap resamples: of the runs within each task, data set and share "
    "of the data (Agarwal et al. 2021). It says how far other seeds might have moved the number, and nothing of "
    "other tasks. Of three to five runs it is too narrow; of one there is none.",
    "probability of improvement": "how often a run of one algorithm scores above a run of the other on the same "
    "task, data and share, averaged over these settings; ties count half. An interval that holds one half does "
    "not tell the two apart. [0.00, 0.00] or [1.00, 1.00] means that no run of one reached any run of the other, "
    "not that none ever would.",
    "drop": "from a run's best evaluation to its last, at the best target return of the protocol last.",
}


@dataclass(frozen=True)
class Block:
    """A part of the page under one heading; empty parts are left out."""

    title: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    drawings: tuple[Drawing, ...]
    origins: Table | None = None


def write(
    comparison: Comparison, out: Path, *, published: bool = False, signatures: Table | None = None
) -> list[Path]:
    """Write `out` as HTML and, beside it, the same tables as Markdown; the paths of both.

    Args:
        published: put the LaMo paper's scores beside runs on the very data sets it used.
        signatures: of failures in the training of these runs.
    """
    failures = [] if signatures is None else [Block("Signatures of training", (), (signatures,), ())]
    content = {
        "title": _title(comparison),
        "lead": _lead(comparison),
        "verdicts": _verdicts(comparison),
        "cautions": [sentence for section in comparison.sections for sentence in cautions(section)],
        "blocks": [
            *(_family_block(comparison, family) for family in comparison.families),
            *(_section_block(comparison, section, published) for section in comparison.sections),
            *failures,
        ],
        "reading": {**{protocol.name: protocol.explanation for protocol in PROTOCOLS}, **READING},
        "page": out.name,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    pages = {"comparison.html": out, "comparison.md": out.with_suffix(".md")}
    for template, path in pages.items():
        path.write_text(_template(template).render(content), encoding="utf-8")
    return list(pages.values())


def _title(comparison: Comparison) -> str:
    others = comparison.arms[1:]
    return f"{comparison.reference} against {', '.join(others)}" if others else f"Runs of {comparison.reference}"


def _lead(comparison: Comparison) -> str:
    runs = [run for section in comparison.sections for run in section.runs if run.setting.hop == section.hops[0]]
    tasks = ", ".join(f"{section.task} ({section.dataset})" for section in comparison.sections)
    episodes = sum(run.episodes_played for section in comparison.sections for run in section.runs)
    arms = "one algorithm" if len(comparison.arms) == 1 else f"{len(comparison.arms)} algorithms"
    number = "One run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"{number} of {arms} on {tasks}; {episodes:,} episodes played."


def _verdicts(comparison: Comparison) -> list[str]:
    """For every family and arm, whether the runs tell it apart from the reference arm."""
    sentences = []
    for family in comparison.families:
        for arm in comparison.arms[1:]:
            found = comparison.improvement(family, arm, comparison.protocol)
            if found is not None:
                sentences.append(_verdict(arm, comparison, family, *found))
    return sentences


def _verdict(arm: str, comparison: Comparison, family: str, estimate: Estimate, settings: int) -> str:
    over = f"over {settings} settings" if settings > 1 else "in one setting"
    beats = f"On {family}, a run of {arm} scores above one of {comparison.reference} with probability"
    if estimate.low is None or estimate.high is None:
        return f"{beats} {estimate.value:.2f} {over}; with a single run somewhere, there is no interval."
    told = "the interval holds one half: these runs do not tell them apart"
    if estimate.value in {0.0, 1.0}:
        told = f"every run of it was {'above' if estimate.value else 'below'}, which is all that few runs can show"
    elif estimate.low > 0.5 or estimate.high < 0.5:
        told = f"the interval lies {'above' if estimate.low > 0.5 else 'below'} one half"
    return f"{beats} {estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}] {over}: {told}."


def _family_block(comparison: Comparison, family: str) -> Block:
    tables = [table for table in (aggregates(comparison, family), improvements(comparison, family)) if table]
    covered = comparison.covered(family)
    notes = []
    if len(set(covered.values())) > 1:
        notes.append(
            "The algorithms ran in different settings, so compare interquartile means only where the settings are "
            "the same; each probability is over the settings that both ran in."
        )
    if any(not section.normalized for section in comparison.sections if section.family == family):
        notes.append("Raw returns of different tasks have no common scale and enter no interquartile mean here.")
    title = "All settings" if len(comparison.families) == 1 else f"All settings with {family}"
    return Block(title, tuple(notes), tuple(tables), _present(family_intervals(comparison, family)))


def _section_block(comparison: Comparison, section: Section, published: bool) -> Block:
    shown = published and any(published_scores(section.dataset, one.sample_ratio) for one in section.settings)
    tables = (
        ratios(section, comparison),
        protocols(section, comparison, published=shown),
        published_elsewhere(section) if shown else None,
        hops(section, comparison),
    )
    return Block(
        f"{section.task}, {section.dataset}",
        tuple(_section_notes(section)),
        tuple(table for table in tables if table),
        _present(data_ratios(comparison, section), learning(comparison, section)),
        origins(section, comparison),
    )


def _section_notes(section: Section) -> list[str]:
    files, versions = short(dataset_hashes(section.runs)), short(code_versions(section.runs))
    notes = [f"Data: SHA-256 {files}. Code: {versions}."]
    if not section.normalized:
        notes.append("There are no reference returns for every episode: all numbers are raw episode returns.")
    elif section.family != FAMILIES[0]:
        notes.append(
            "This is not D4RL's own data: the score is normalized by the task's reference returns, but it is not "
            "to be put beside scores published on D4RL."
        )
    if len(section.hops) > 1:
        notes.append(f"Everything but the table of hops is of hop {section.hops[0]}.")
    return notes


def _present(*drawings: Drawing | None) -> tuple[Drawing, ...]:
    return tuple(drawing for drawing in drawings if drawing)


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("training.reports"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["gfm"] = lambda text: re.sub(r"([\\|<*`])", r"\\\1", text)
    return environment.get_template(name)
