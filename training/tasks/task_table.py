"""The `lamo-train tasks` command: the tasks that ship here, and where their presets differ, as Markdown."""

from __future__ import annotations

import argparse
import sys

from training.tasks.presets import differences
from training.tasks.task import Task, read_task, task_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `tasks` on its parser."""
    parser.add_argument("--differences", action="store_true", help="where the presets paper and fixed differ")


def run(arguments: argparse.Namespace) -> None:
    """Print the table that was asked for."""
    sys.stdout.write(differences() if arguments.differences else table())


def table() -> str:
    """A Markdown table: one row per task."""
    lines = ["| task | data | environment | K | target returns | return scale | embeddings |", "|---" * 7 + "|"]
    return "\n".join([*lines, *(_row(read_task(name).task) for name in task_names())]) + "\n"


def _row(task: Task) -> str:
    targets = ", ".join(f"{target:g}" for target in task.target_returns)
    return (
        f"| `{task.name}` | `{task.dataset}` | `{task.environment}` | {task.context_length} | {targets} "
        f"| {task.return_scale:g} | {task.embeddings} |"
    )
