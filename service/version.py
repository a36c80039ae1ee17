"""Version: which release of this distribution answers."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def server_version() -> str:
    """The version of this distribution; "unknown" where it runs from a folder that was never installed."""
    try:
        return version("lamo-serving")
    except PackageNotFoundError:
        return "unknown"
