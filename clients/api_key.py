"""API key: where a command finds it; never on the command line, which every user of the machine can read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lamo.errors import ConfigError

VARIABLE = "LAMO_API_KEY"


def read_api_key(file: Path | None, environment: Mapping[str, str]) -> str | None:
    """The first line of the file if there is one, else the environment's `LAMO_API_KEY`, else None.

    Raises:
        ConfigError: the file cannot be read.
    """
    if file is None:
        return environment.get(VARIABLE)
    try:
        return file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"API key file {file} cannot be read: {reason}") from error
