"""Reads a robot's logs, CSV or Parquet, one row a timestep, by the names of their columns."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from lamo.errors import ConfigError, DatasetError
from training.data.fingerprint import sha256_of
from training.data.trajectories import Trajectories, Trajectory

OBSERVATION_PREFIX, ACTION_PREFIX = "observation.", "action."
_UNIT = re.compile(r"(?P<name>.*\S)\s*\[(?P<unit>[^\[\]]+)\]")


@dataclass(frozen=True)
class Columns:
    """Which column of a log is what. What is not said is found by its conventional name.

    Attributes:
        observations: in the order the policy is to see them; by convention all that begin `observation.`.
        actions: in the order the robot takes them; by convention all that begin `action.`.
        reward: by convention `reward`; a log without one has rewards of 0.
        episode: number or name of the episode, the same on all of its rows; by convention `episode`. A log
            without one is cut after `terminated` and `truncated`.
        step: rises within an episode; by convention `step`. It is checked and not kept.
        terminated: the task ended here; by convention `terminated`.
        truncated: a time limit ended it here; by convention `truncated`.
        step_seconds: how long one timestep lasts; None where nobody says.
    """

    observations: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    reward: str | None = None
    episode: str | None = None
    step: str | None = None
    terminated: str | None = None
    truncated: str | None = None
    step_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.step_seconds is not None and not 0.0 < self.step_seconds < float("inf"):
            raise ConfigError(f"step_seconds is {self.step_seconds}; a timestep lasts longer than 0 seconds")

    @property
    def given(self) -> bool:
        """Whether anything is said that the conventions do not."""
        return any(getattr(self, field.name) != field.default for field in fields(self))


def read(path: Path, columns: Columns | None = None) -> Trajectories:
    """The data set in a `.csv` or `.parquet` file; a column's name in the data set is what follows its prefix.

    A unit in brackets at the end of a column's name, `action.lift [m/s]`, is the unit and no part of the name.

    Raises:
        DatasetError: the file is missing or no table, a column is absent, empty in a row, not numbers or not
            finite, steps do not rise, an episode's rows are apart, or one goes on after its end.
    """
    log = _Log(path, _table(path))
    chosen = log.resolve(columns or Columns())
    observations = log.matrix(chosen.observations).astype(np.float32)
    actions = log.matrix(chosen.actions).astype(np.float32)
    rewards = log.numbers(chosen.reward) if chosen.reward else np.zeros(len(observations))
    terminated = log.flags(chosen.terminated)
    ends = _ends(log, chosen, terminated | log.flags(chosen.truncated))
    return Trajectories(
        trajectories=tuple(
            Trajectory(observations[start:end], actions[start:end], rewards[start:end], bool(terminated[end - 1]))
            for start, end in zip([0, *ends[:-1]], ends, strict=True)
        ),
        name=path.stem,
        source=str(path),
        sha256=sha256_of(path),
        attributes=_attributes(chosen),
    )


@dataclass(frozen=True, eq=False)
class _Log:
    """A table and the file it came from; rows are counted from 1, below a CSV file's line of names."""

    path: Path
    table: pa.Table

    def resolve(self, columns: Columns) -> Columns:
        """The columns by their names in this file, conventions filled in."""
        present = self.table.column_names
        singles = ("reward", "episode", "step", "terminated", "truncated")
        found: dict[str, Any] = {
            name: getattr(columns, name) or (name if name in present else None) for name in singles
        }
        chosen = replace(
            columns,
            observations=columns.observations or self._beginning(OBSERVATION_PREFIX, "--observations"),
            actions=columns.actions or self._beginning(ACTION_PREFIX, "--actions"),
            **found,
        )
        for column in (*chosen.observations, *chosen.actions, *(getattr(chosen, name) for name in singles)):
            if column is not None and present.count(column) != 1:
                often = "no" if column not in present else "more than one"
                raise DatasetError(f"{self.path} has {often} column {column!r}; it has {', '.join(present)}")
        return chosen

    def matrix(self, names: Sequence[str]) -> NDArray[np.float64]:
        """The columns side by side, [rows, names]."""
        return np.stack([self.numbers(name) for name in names], axis=1)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One column of finite numbers, [rows]."""
        column = self.table.column(name)
        self._refuse_where(np.asarray(column.is_null()), name, "is empty or NaN")
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            text = next((row for row, value in enumerate(column) if not _is_number(value.as_py())), 0)
            raise DatasetError(f"{self.at(name, text)} is the text {column[text].as_py()!r}, not a number")
        if not (
            pa.types.is_integer(column.type)
            or pa.types.is_floating(column.type)
            or pa.types.is_boolean(column.type)
        ):
            raise DatasetError(f"{self.path}: column {name!r} is of type {column.type}, not numbers")
        values: NDArray[np.float64] = column.to_numpy().astype(np.float64)
        self._refuse_where(~np.isfinite(values), name, "is not finite")
        return values

    def flags(self, name: str | None) -> NDArray[np.bool_]:
        """One column of yes and no, [rows]; all no where there is none."""
        if name is None:
            return np.zeros(len(self.table), dtype=bool)
        values = self.numbers(name)
        self._refuse_where(~np.isin(values, (0.0, 1.0)), name, "is neither 0 nor 1, true nor false")
        return values.astype(bool)

    def at(self, name: str, row: int) -> str:
        """The beginning of a sentence about one cell; `row` counts from 0."""
        return f"{self.path}: column {name!r}, row {row + 1}"

    def _refuse_where(self, wrong: NDArray[np.bool_], name: str, what: str) -> None:
        if wrong.any():
            raise DatasetError(f"{self.at(name, int(np.argmax(wrong)))} {what} ({wrong.sum()} such rows)")

    def _beginning(self, prefix: str, option: str) -> tuple[str, ...]:
        names = tuple(name for name in self.table.column_names if name.startswith(prefix))
        if not names:
            has = ", ".join(self.table.column_names)
            raise DatasetError(
                f"{self.path} has no column that begins {prefix!r}; name them with {option}; it has {has}"
            )
        return names


def _table(path: Path) -> pa.Table:
    if not path.is_file():
        raise DatasetError(f"there is no data file {path}")
    try:
        if path.suffix == ".csv":
            # Without it an empty cell in a column of text would be a text of its own.
            options = pa.csv.ConvertOptions(strings_can_be_null=True)
            # One thread, so that an error can say the row.
            table = pa.csv.read_csv(path, pa.csv.ReadOptions(use_threads=False), convert_options=options)
        else:
            table = pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {str(error).partition(chr(10))[0]}") from error
    if len(table) == 0:
        raise DatasetError(f"{path} holds no row at all")
    if table.num_columns == 1 and (found := re.search("[;\t|]", table.column_names[0])):
        raise DatasetError(f"{path} separates its columns by {found[0]!r}; write it with commas and decimal points")
    return table


def _ends(
    log: _Log,
    columns: Columns,
    flagged: NDArray[np.bool_],  # [rows]
) -> list[int]:
    """The row after each episode's last."""
    rows = len(flagged)
    if columns.episode is None:
        if columns.terminated is None and columns.truncated is None:
            raise DatasetError(
                f"{log.path} has no column 'episode', 'terminated' or 'truncated', so its episodes cannot be told "
                "apart; name one with --episode-column, --terminated or --truncated"
            )
        last = flagged.copy()
    else:
        last = _last_rows(log, columns.episode)
        early = np.flatnonzero(flagged & ~last)
        if len(early):
            name = columns.terminated or columns.truncated or ""
            raise DatasetError(f"{log.at(name, int(early[0]))} ends an episode that goes on in the next row")
    last[-1] = True
    ends = [int(row) + 1 for row in np.flatnonzero(last)]
    if columns.step is not None:
        steps = log.numbers(columns.step)
        falls = np.flatnonzero(~last[:-1] & (np.diff(steps) <= 0)) if rows > 1 else np.empty(0, np.int64)
        if len(falls):
            row = int(falls[0]) + 1
            raise DatasetError(
                f"{log.at(columns.step, row)} is {steps[row]:g} after {steps[row - 1]:g}; steps rise"
            )
    return ends


def _last_rows(log: _Log, name: str) -> NDArray[np.bool_]:
    """True on the last row of each run of one episode, [rows]."""
    column = log.table.column(name)
    missing = np.asarray(column.is_null())
    if missing.any():
        raise DatasetError(f"{log.at(name, int(np.argmax(missing)))} is missing: it belongs to no episode")
    _, episodes = np.unique(np.array(column.to_pylist()), return_inverse=True)
    last = np.append(episodes[1:] != episodes[:-1], True)
    starts = np.append(0, np.flatnonzero(last)[:-1] + 1)
    seen: set[int] = set()
    for start in starts.tolist():
        if int(episodes[start]) in seen:
            value = column[start].as_py()
            raise DatasetError(f"{log.at(name, start)} is {value!r} again, after rows of another episode")
        seen.add(int(episodes[start]))
    return last


def _attributes(columns: Columns) -> dict[str, str]:
    """Names and units as JSON tables of `observations` and `actions`, as tasks have them."""
    groups = {
        "observations": [_name_and_unit(name, OBSERVATION_PREFIX) for name in columns.observations],
        "actions": [_name_and_unit(name, ACTION_PREFIX) for name in columns.actions],
    }
    attributes = {"names": json.dumps({key: [name for name, _ in group] for key, group in groups.items()})}
    units = {key: [unit for _, unit in group] for key, group in groups.items() if all(unit for _, unit in group)}
    if units:
        attributes["units"] = json.dumps(units)
    if columns.step_seconds is not None:
        attributes["step_seconds"] = repr(columns.step_seconds)
    if columns.reward is None:
        attributes["rewards"] = "none in the log: every reward is 0, which behavior cloning does not mind"
    return attributes


def _name_and_unit(column: str, prefix: str) -> tuple[str, str]:
    name = column.removeprefix(prefix)
    found = _UNIT.fullmatch(name)
    return (found["name"], found["unit"]) if found else (name, "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
