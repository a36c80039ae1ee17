"""The version of this code, as it is written beside everything the code produces."""

from __future__ import annotations

from importlib import metadata


def code_version() -> str:
    """The installed distribution's version; "not installed" when the code runs out of a bare checkout."""
    try:
        return metadata.version("lamo-serving")
    except metadata.PackageNotFoundError:
        return "not installed"
