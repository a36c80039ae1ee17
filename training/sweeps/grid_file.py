"""A grid's TOML file: which runs an experiment is made of.

    [every]                      # options of every run
    updates = 2000

    [axes]                       # the product of these lists is taken
    sample_ratio = [0.1, 1.0]
    seed = [0, 1, 2]             # the same for every arm

    [[tasks]]                    # optional: a task with options and axes of its own
    task = "hopper-medium"
    axes = { sample_ratio = [0.01, 0.1, 1.0] }

    [[arms]]                     # optional: what is compared; the name goes into the scores' `algorithm`
    name = "random trunk"
    random_init = true

    [[exclude]]                  # optional: runs left out, where all of these hold; a list means any of its values
    name = "random trunk"
    sample_ratio = [0.01, 0.1]

Every option is one of `lamo-train train`, with underscores for dashes.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError
from training.sweeps.grid import Entry, Grid, Options
from training.sweeps.planned_run import is_option

TABLES = ("every", "axes", "tasks", "arms", "exclude")

FOLDERS = ("out", "resume", "wandb")
"""Options of `lamo-train train` that say where a run lies, not what it is."""


def committed() -> list[str]:
    """The names of the grids that come with this package."""
    names = (entry.name for entry in files("training.sweeps").joinpath("grids").iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read(name_or_path: str) -> Grid:
    """The grid in a file, or the committed one of that name.

    Raises:
        ConfigError: there is none, it is no TOML, or something in it cannot be part of a grid.
    """
    try:
        return _grid(Path(name_or_path).stem, tomllib.loads(_contents(name_or_path)))
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"grid {name_or_path}: {error}") from error


def check_option(name: str, *, seed: bool = False) -> None:
    """Refuse what is no option of a run; the seed is one only where every arm gets the same.

    Raises:
        ConfigError: it is none.
    """
    if name == "seed" and not seed:
        raise ConfigError("seeds are the same for every arm: give them in [axes], or by --seeds")
    if name == "label":
        raise ConfigError("label is made of the arm's name and axes: give an entry of [[arms]] a name")
    if name in FOLDERS or not is_option(name):
        raise ConfigError(f"unknown option {name}: `lamo-train train --help` lists those that a grid can set")


def _contents(name_or_path: str) -> str:
    if name_or_path in committed():
        return files("training.sweeps").joinpath("grids", f"{name_or_path}.toml").read_text(encoding="utf-8")
    if not Path(name_or_path).is_file():
        raise ConfigError(f"there is no such file, and no grid of that name; grids: {', '.join(committed())}")
    return Path(name_or_path).read_text(encoding="utf-8")


def _grid(name: str, document: Mapping[str, Any]) -> Grid:
    for table in document:
        if table not in TABLES:
            raise ConfigError(f"unknown table {table}; there are {', '.join(TABLES)}")
    every = _table(document, "every")
    _check_options(every, seed=True)
    tasks = tuple(_entry("tasks", "task", item) for item in _tables(document, "tasks"))
    arms = tuple(_entry("arms", "name", item) for item in _tables(document, "arms"))
    _refuse_repeated(arm.name for arm in arms)
    return Grid(
        name=name,
        every=every,
        axes=_axes(_table(document, "axes"), "axes", seed=True),
        tasks=tasks or (Entry(),),
        arms=arms or (Entry(),),
        exclude=tuple(_exclusion(item) for item in _tables(document, "exclude")),
    )


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} must be a table: [{name}]")
    return table


def _tables(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    tables = document.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{name} must be tables: [[{name}]]")
    return tables


def _axes(table: Mapping[str, Any], where: str, *, seed: bool = False) -> dict[str, list[Any]]:
    for name, values in table.items():
        check_option(name, seed=seed)
        if not isinstance(values, list) or not values:
            raise ConfigError(f"axis {name} of {where} is {values!r}, it must be a list of one value or more")
        for value in values:
            _check_value(name, value)
    return dict(table)


def _entry(table: str, key: str, item: Mapping[str, Any]) -> Entry:
    """A task or an arm; its `key` says which."""
    called = item.get(key)
    if not isinstance(called, str) or not called:
        raise ConfigError(f"every entry of [[{table}]] needs a {key}")
    axes = _axes(_table(item, "axes"), f"{key} {called}")
    options = {name: value for name, value in item.items() if name not in ("axes", "name")}
    _check_options(options)
    return Entry(called if key == "name" else "", options, axes)


def _check_options(options: Mapping[str, Any], *, seed: bool = False) -> None:
    for name, value in options.items():
        check_option(name, seed=seed)
        _check_value(name, value)


def _check_value(name: str, value: object) -> None:
    for single in value if isinstance(value, list) else [value]:
        if not isinstance(single, bool | int | float | str):
            raise ConfigError(f"{name} cannot be {single!r}")


def _exclusion(item: Mapping[str, Any]) -> Options:
    for name in item:
        if name != "name":
            check_option(name)
    return item


def _refuse_repeated(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ConfigError(f"two arms are named {name!r}")
        seen.add(name)
