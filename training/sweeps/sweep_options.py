"""The options of `lamo-train sweep`, and the grid and numbers they choose."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError
from training.sweeps import grid_file
from training.sweeps.grid import Grid
from training.sweeps.planned_run import PlannedRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `sweep` on its parser."""
    grids = ", ".join(grid_file.committed())
    parser.add_argument("grid", metavar="GRID", help=f"a TOML file, or one of {grids}")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the sweep (default runs/<grid>)")
    add = parser.add_argument_group("which runs").add_argument
    add("--only", nargs="+", metavar="N", help="these numbers of --list, such as 7 or 0-5")
    add("--seeds", nargs="+", type=int, metavar="SEED", help="instead of the grid's, for every arm")
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help="for every run; as in the grid's file")
    add(
        "--data",
        action="append",
        default=[],
        metavar="TASK=DATASET",
        help="data set of a task, instead of its own or the grid's",
    )
    add = parser.add_argument_group("where they run").add_argument
    add("--devices", metavar="DEVICE,...", help="cpu, cuda, or cuda:0,cuda:1 (default: what the grid says)")
    add("--jobs-per-device", type=int, default=1, metavar="M", help="runs side by side on each (default 1)")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="show the runs and how far each has come")
    instead.add_argument(
        "--estimate", action="store_true", help="time each kind of run over 100 updates and say the hours"
    )
    instead.add_argument(
        "--ray", metavar="ADDRESS", help="hand the runs to this Ray cluster; the folder must be on shared storage"
    )


def grid_from(arguments: argparse.Namespace) -> Grid:
    """The grid, with what the command line says instead.

    Raises:
        ConfigError: there is no such grid, or an option cannot be used.
    """
    grid = grid_file.read(arguments.grid)
    overrides = dict(_override(text) for text in arguments.set)
    data = dict(_pair("--data", text) for text in arguments.data)
    grid = replace(grid, overrides=overrides, data=data)
    return grid if arguments.seeds is None else grid.with_seeds(arguments.seeds)


def chosen(runs: Sequence[PlannedRun], only: Iterable[str] | None) -> list[PlannedRun]:
    """The runs with these numbers and ranges of numbers, each once; all if None.

    Raises:
        ConfigError: no number, or not of a run.
    """
    if only is None:
        return list(runs)
    numbers = [number for text in only for number in _range(text)]
    for number in numbers:
        if number >= len(runs):
            raise ConfigError(f"--only {number}: the runs are numbered 0 to {len(runs) - 1}")
    return [runs[number] for number in dict.fromkeys(numbers)]


def devices(arguments: argparse.Namespace) -> list[str | None]:
    """The devices to run on; one that is None where the grid decides.

    Raises:
        ConfigError: fewer than one job per device, a device twice, or several where Ray chooses.
    """
    if arguments.jobs_per_device < 1:
        raise ConfigError(f"--jobs-per-device is {arguments.jobs_per_device}, it must be at least 1")
    if arguments.devices is None:
        return [None]
    names = arguments.devices.split(",")
    if "" in names or len(set(names)) < len(names):
        raise ConfigError(f"--devices is {arguments.devices!r}, it must be different names with commas between")
    if arguments.ray is not None and len(names) > 1:
        raise ConfigError("--devices names several devices, but with --ray the cluster chooses: cpu or cuda")
    return list(names)


def _override(text: str) -> tuple[str, Any]:
    """An option and its value, which is TOML where it can be, and text otherwise."""
    name, value = _pair("--set", text)
    grid_file.check_option(name)
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{option} {text}: it must be NAME=VALUE")
    return name, value


def _range(text: str) -> range:
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise ConfigError(f"--only {text}: it must be a number such as 7, or a range such as 0-5")
    return range(int(first), int(last or first) + 1)
