"""PlannedRun: one run of a sweep before it is begun: its options, its name, and the command line they make."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import NoReturn

from lamo.errors import ConfigError
from training.learning.config import TrainConfig
from training.runs import options

Scalar = bool | int | float | str
Value = Scalar | list[Scalar]
"""What an option of a grid can be; a list is for options that take several values, such as `hops`."""

_SWITCHES = frozenset(field.name for field in dataclasses.fields(TrainConfig) if isinstance(field.default, bool))


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        number: its place in the grid, from 0: an array job's index.
        name: its folder within the sweep's.
        options: fields of TrainConfig; those not named keep their defaults.
    """

    number: int
    name: str
    options: Mapping[str, Value]

    @cached_property
    def config(self) -> TrainConfig:
        """What `lamo-train train` makes of the options; no data is read.

        Raises:
            ConfigError: an option does not exist or cannot have its value.
        """
        try:
            return options.config_from(_parser().parse_args(self.words()))
        except ConfigError as error:
            raise ConfigError(f"run {self.number} ({self.name}): {error}") from error

    def words(self) -> list[str]:
        """The options as words of `lamo-train train`, without the run's folder."""
        return [word for name, value in self.options.items() for word in _words(name, value)]

    def words_to_begin(self, folder: Path, changed: Mapping[str, Value]) -> list[str]:
        """The words that begin the run in a folder; `changed` are options that only this machine decides."""
        return ["--out", str(folder), *dataclasses.replace(self, options={**self.options, **changed}).words()]

    def words_to_go_on(self, folder: Path, changed: Mapping[str, Value]) -> list[str]:
        """The words that go on with the run in a folder, to a new length where the grid says another."""
        merged = {**self.options, **changed}
        changeable = {name: merged[name] for name in options.CHANGEABLE if name in merged}
        return ["--resume", str(folder), *dataclasses.replace(self, options=changeable).words()]


def is_option(name: str) -> bool:
    """Whether `lamo-train train` has an option of that name."""
    try:
        _, unknown = _parser().parse_known_args([_flag(name)])
    except ConfigError:  # it is there, and wants a value
        return True
    return not unknown


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


@cache
def _parser() -> argparse.ArgumentParser:
    parser = _Parser(allow_abbrev=False, add_help=False)
    options.add_arguments(parser)
    return parser


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _words(name: str, value: Value) -> list[str]:
    flag = _flag(name)
    if isinstance(value, list):
        return [flag, *map(str, value)]
    if not isinstance(value, bool):
        return [f"{flag}={value}"]
    if name not in _SWITCHES:
        raise ConfigError(f"{name} takes a value, not {str(value).lower()}")
    return [flag] if value else []
