"""Prints the packages that the distribution and the named extras ask for, one per line, for pip's `-r`.

    python docker/requirements.py EXTRA...     in the folder of pyproject.toml

An image installs these before it sees any code, so that a change of code reuses the layer that holds them.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path("pyproject.toml")


def requirements(project: Path, extras: list[str]) -> list[str]:
    """The requirements as pyproject.toml writes them; KeyError for an extra that it does not have."""
    tables = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    optional = tables["optional-dependencies"]
    return [*tables["dependencies"], *(wanted for extra in extras for wanted in optional[extra])]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(PROJECT, sys.argv[1:])) + "\n")
