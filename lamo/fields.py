"""Fields: a dataclass built from what a file says, with every field that is wrong refused by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lamo.errors import ConfigError


def build(kind: type[Any], values: Mapping[str, Any], *, whole: str, within: str = "") -> Any:
    """An instance of the dataclass `kind`; lists become tuples.

    Args:
        whole: what errors call the file's content.
        within: what stands before the names of the fields of a section, such as `trunk.`.

    Raises:
        ConfigError: a field is unknown, missing, or of the wrong type.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise ConfigError(f"unknown field {within}{name}")
    for name, item in fields.items():
        if item.default is dataclasses.MISSING and name not in values:
            raise ConfigError(f"field {within}{name} is missing")
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        return kind(**frozen)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a field of {within or whole} has the wrong type: {error}") from error
