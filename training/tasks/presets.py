"""The two presets of every task: "paper" trains as the paper's code does, "fixed" without its defects.

What makes them differ is here and in the tables `[paper]` and `[fixed]` of the tasks' files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from training.tasks.task import Task, read_task, task_names

Preset = Literal["paper", "fixed"]

PRESETS: Mapping[Preset, Mapping[str, Any]] = MappingProxyType(
    {
        "paper": {"language_positions": False, "hold_out": 0.0},
        "fixed": {"language_positions": True, "hold_out": 0.05},
    }
)

REASONS = MappingProxyType(
    {
        "language_positions": "GPT-2 was pretrained with position embeddings; without them its loss starts at "
        "5.5 to 6.8 nats instead of 3.3",
        "hold_out": "without held-out trajectories overfitting cannot be seen",
        "rewards": "the files pay the number of solved tasks at every step, the environment pays each task once; "
        "only differences give training and evaluation one unit",
        "timestep_table_size": "the reference's table has 1000 rows, its episodes end after 280 steps",
    }
)
"""Why each setting differs, for the table of differences."""

TASK_FIELDS = frozenset(field.name for field in dataclasses.fields(Task)) - {"name"}
"""Settings that belong to a task; everything else belongs to the run."""


def settings(task_name: str, preset: Preset) -> tuple[Task, dict[str, Any]]:
    """The task under a preset, and what task and preset decide about a run.

    Raises:
        ConfigError: there is no such task, or its file cannot be used.
    """
    read = read_task(task_name)
    merged = {**PRESETS[preset], **read.overrides["training"], **read.overrides[preset]}
    changes = {name: value for name, value in merged.items() if name in TASK_FIELDS}
    rest = {name: value for name, value in merged.items() if name not in TASK_FIELDS}
    return dataclasses.replace(read.task, **changes), rest


def differences() -> str:
    """A Markdown table: each setting in which the presets of a shipped task differ."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for name in task_names():
        for setting, paper, fixed in _differences(name):
            rows.setdefault((setting, paper, fixed), []).append(name)
    everywhere = len(task_names())
    lines = ["| setting | `paper` | `fixed` | tasks | why |", "|---|---|---|---|---|"]
    for (setting, paper, fixed), names in rows.items():
        where = "all" if len(names) == everywhere else ", ".join(names)
        lines.append(f"| `{setting}` | {paper} | {fixed} | {where} | {REASONS[setting]} |")
    return "\n".join(lines) + "\n"


def _differences(name: str) -> list[tuple[str, str, str]]:
    (paper_task, paper), (fixed_task, fixed) = settings(name, "paper"), settings(name, "fixed")
    found = [(key, paper.get(key), fixed.get(key)) for key in (*paper, *(fixed.keys() - paper.keys()))]
    found += [(key, getattr(paper_task, key), getattr(fixed_task, key)) for key in sorted(TASK_FIELDS)]
    return [(key, _shown(old), _shown(new)) for key, old, new in found if old != new]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "as many as an episode has steps" if value is None else f"{value}"
