"""The version of this code, as it is written beside everything the code produces."""

from __future__ import annotations

import functools
import subprocess
from importlib import metadata
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


@functools.cache
def code_version() -> str:
    """The installed distribution's version ("not installed" in a bare checkout), and in a checkout its commit.

    `0.1.0+0123456789` is that commit, `0.1.0+0123456789-dirty` one with changes that are in no commit.
    """
    try:
        installed = metadata.version("lamo-serving")
    except metadata.PackageNotFoundError:
        installed = "not installed"
    commit = _commit(CHECKOUT)
    return f"{installed}+{commit}" if commit else installed


def _commit(checkout: Path) -> str:
    """The commit of a checkout; empty where it is none, or git is not there to ask."""
    if not (checkout / ".git").exists():  # a repository somewhere above is not this code's
        return ""
    words = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    try:
        described = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()
