"""Sweep: carries out the runs of a grid, each in a process of its own; also `lamo-train sweep`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from lamo.errors import ConfigError, LamoError
from training.interruption import Interrupted, Interruption
from training.sweeps.estimate import estimate
from training.sweeps.planned_run import PlannedRun
from training.sweeps.ray_cluster import RayTasks, connected
from training.sweeps.run_process import LOG, interrupted, last_lines
from training.sweeps.side_by_side import SideBySide, slots
from training.sweeps.sweep_folder import State, SweepFolder
from training.sweeps.sweep_options import chosen, devices, grid_from


class Sweep:
    """The runs of a grid and what has become of those that ended.

    Args:
        runs: all of the grid's, whose scores are gathered.
        bar: shows how many of the wanted runs are finished.
    """

    def __init__(self, folder: SweepFolder, runs: Sequence[PlannedRun], bar: tqdm[NoReturn]) -> None:
        self._folder = folder
        self._runs = runs
        self._bar = bar
        self._failed: list[PlannedRun] = []
        self._elsewhere: list[PlannedRun] = []

    def ended(self, run: PlannedRun, exit_code: int | None) -> None:
        """Note how a run ended, and add its scores to those of all runs."""
        if exit_code is None:
            self._elsewhere.append(run)
        elif exit_code == 0:
            self._bar.update()
        elif not interrupted(exit_code):
            self._failed.append(run)
            path = self._folder.run_folder(run).path
            self._say(f"run {run.number} failed with exit code {exit_code}; the end of {path / LOG}:")
            self._say(last_lines(path))
        try:
            self._folder.gather_scores(self._runs)
        except ConfigError as error:  # one broken file must not end the runs that are under way
            self._say(f"scores were not gathered: {error}")

    def conclude(self, *, was_interrupted: bool) -> None:
        """Say what is left to do.

        Raises:
            LamoError: runs have failed.
            Interrupted: by a signal.
        """
        if self._elsewhere:
            self._say(f"under way in another process: run {_numbers(self._elsewhere)}")
        if was_interrupted:
            raise Interrupted("interrupted, and every run is saved; go on with the same command")
        if self._failed:
            raise LamoError(
                f"run {_numbers(self._failed)} failed, see log.txt in its folder below {self._folder.path}; "
                "the same command tries again"
            )

    def _say(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)


def run(arguments: argparse.Namespace) -> None:
    """Carry out the parsed command; an InputError it raises is one sentence for whoever typed it."""
    grid = grid_from(arguments)
    runs = grid.runs()
    wanted = chosen(runs, arguments.only)
    folder = SweepFolder((arguments.out or Path("runs") / grid.name).resolve())
    places = slots(devices(arguments), arguments.jobs_per_device)
    if arguments.estimate:
        sys.stdout.write(estimate(wanted, places))
        return
    states = [folder.state(item) for item in wanted]
    if arguments.list:
        sys.stdout.write(_listing(wanted, states))
        return
    left = [item for item, state in zip(wanted, states, strict=True) if state is not State.FINISHED]
    with tqdm(total=len(wanted), initial=len(wanted) - len(left), desc="sweep", unit="run") as bar:
        folder.gather_scores(runs)
        _carry_out(arguments, folder, left, Sweep(folder, runs, bar))
    sys.stdout.write(f"scores: {folder.scores}\n")


def _carry_out(
    arguments: argparse.Namespace, folder: SweepFolder, left: Sequence[PlannedRun], sweep: Sweep
) -> None:
    """Here or on a cluster; signals are noted only after Ray has set its own handlers."""
    names, jobs = devices(arguments), arguments.jobs_per_device
    with ExitStack() as stack:
        ray = None if arguments.ray is None else stack.enter_context(connected(arguments.ray))
        interruption = stack.enter_context(Interruption())
        if ray is None:
            SideBySide(folder, slots(names, jobs), interruption, sweep.ended).carry_out(left)
        else:
            RayTasks(
                ray,
                folder,
                device=names[0],
                jobs_per_device=jobs,
                interruption=interruption,
                on_end=sweep.ended,
            ).carry_out(left)
    sweep.conclude(was_interrupted=interruption.requested)


def _listing(runs: Sequence[PlannedRun], states: Sequence[State]) -> str:
    """A line for each run, after what all have in common."""
    first = runs[0]
    shared = {
        name: value
        for name, value in first.options.items()
        if all(item.options.get(name) == value for item in runs)
    }
    lines = [f"every run: {shlex.join(replace(first, options=shared).words())}"]
    for item, state in zip(runs, states, strict=True):
        own = {name: value for name, value in item.options.items() if name not in shared}
        words = shlex.join(replace(item, options=own).words())
        lines.append(f"{item.number:4d}  {state.value:11s}  {item.name}  {words}")
    return "\n".join([*lines, f"{states.count(State.FINISHED)} of {len(runs)} finished", ""])


def _numbers(runs: Sequence[PlannedRun]) -> str:
    return ", ".join(str(item.number) for item in runs)
