"""Page: what every page of results has: the machine it was measured on, and tables."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch


def describe_machine(threads: int | None) -> dict[str, str]:
    """What the figures depend on."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "load average at the start": f"{os.getloadavg()[0]:.1f}",
        "Python": platform.python_version(),
        "torch": f"{torch.__version__}, {threads or torch.get_num_threads()} threads",
    }


def markdown_table(head: str, rows: Sequence[Sequence[str]]) -> str:
    """A table whose titles are separated by |; all columns but the first hold numbers."""
    titles = head.split("|")
    lines = [titles, ["---"] + ["---:"] * (len(titles) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
