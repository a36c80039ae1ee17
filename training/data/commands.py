"""The `lamo-train data` commands: make, fetch, list, convert and inspect offline data."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from lamo.errors import ConfigError
from training.data import d4rl, hdf5, sources
from training.data.conversion import convert, refuse_other_suffix
from training.data.fingerprint import sha256_of
from training.data.inspection import inspection
from training.data.proposal import Proposal
from training.data.recording import BEHAVIOR_POLICY, episode_seeds, record_episodes
from training.data.tabular import Columns
from training.tasks.task import read_task, task_names
from training.version import code_version

SOURCE = "d4rl:ID, minari:ID, or a file: .hdf5, .npz, .pkl, .csv, .parquet (docs/data.md)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands on the parser of `data`."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    making = commands.add_parser("make", help="record offline data with a scripted behavior policy")
    making.add_argument("--task", default="reacher2d", help="the task to play; a script exists for reacher2d")
    making.add_argument("--episodes", type=int, default=500, help="episodes to record (default %(default)s)")
    making.add_argument("--seed", type=int, default=0, help="the same seed makes the same file, byte for byte")
    making.add_argument("--out", type=Path, required=True, metavar="FILE", help="HDF5 file to write")

    fetching = commands.add_parser("fetch", help="download a D4RL set into D4RL's cache folder")
    fetching.add_argument("source", metavar="d4rl:ID", help="such as d4rl:hopper-medium-v2")
    commands.add_parser("list", help="list the sets that can be read by id")
    _add_convert(commands.add_parser("convert", help="copy a data set, or a part of it, to HDF5 or Minari"))

    inspecting = commands.add_parser("inspect", help="print what a data set holds")
    inspecting.add_argument("source", metavar="DATA", help=SOURCE)
    inspecting.add_argument("--task", help=f"give normalized scores of this task: {', '.join(task_names())}")
    inspecting.add_argument(
        "--write-task", type=Path, metavar="TOML", help="propose a task for it, as a file to edit"
    )
    _add_columns(inspecting)


def run(arguments: argparse.Namespace) -> None:
    """Carry out the parsed command; an InputError it raises is one sentence for whoever typed it."""
    if arguments.data_command == "make":
        make(arguments.task, arguments.episodes, arguments.seed, arguments.out)
    elif arguments.data_command == "fetch":
        sys.stdout.write(fetch(arguments.source))
    elif arguments.data_command == "list":
        sys.stdout.writelines(f"{name}\n" for name in sources.known())
    elif arguments.data_command == "convert":
        convert(
            sources.read(arguments.source, _columns(arguments)),
            arguments.out,
            episodes=arguments.episodes,
            sample_ratio=arguments.sample_ratio,
            seed=arguments.seed,
            indices=arguments.indices,
        )
    else:
        inspect(arguments.source, _columns(arguments), arguments.task, arguments.write_task)


def make(task: str, episodes: int, seed: int, out: Path) -> None:
    """Record `episodes` episodes of the task's scripted behavior policy into the HDF5 file `out`.

    Raises:
        ConfigError: no behavior policy is scripted for the task, or the numbers make no sense.
        DatasetError: the file cannot be written.
    """
    if read_task(task).task.name != "reacher2d":
        raise ConfigError(f"no behavior policy is scripted for task {task!r}; data is made for reacher2d only")
    refuse_other_suffix(out)
    seeds = episode_seeds(seed, episodes)
    trajectories = record_episodes(tqdm(seeds, desc="recording", unit="episode"))
    attributes: dict[str, str | int] = {
        "task": task,
        "environment": str(read_task(task).task.environment),
        "seed": seed,
        "behavior_policy": BEHAVIOR_POLICY,
        "code_version": code_version(),
    }
    hdf5.write(out, trajectories, attributes)


def fetch(source: str) -> str:
    """Download a D4RL set; where it lies and its SHA-256, for a line.

    Raises:
        ConfigError, DatasetError: it is no D4RL set, or what `d4rl.fetch` raises.
    """
    if not source.startswith(sources.D4RL_PREFIX):
        raise ConfigError(f"{source} is not fetched here: d4rl:ID is; `minari download ID` fetches Minari's sets")
    path = d4rl.fetch(source.removeprefix(sources.D4RL_PREFIX))
    return f"{path}\nsha256  {sha256_of(path)}\n"


def inspect(source: str, columns: Columns, task: str | None, write_task: Path | None) -> None:
    """Print what the data set holds, and write the task that it proposes.

    Raises:
        ConfigError: the task is unknown; a task was asked for of a log that its name alone does not read; or the
            task's file exists.
        DatasetError: the data set cannot be used.
    """
    if write_task is not None and replace(columns, step_seconds=None).given:  # a task says that itself
        raise ConfigError(
            f"a task names its data, not its columns; make {source} HDF5 by `lamo-train data convert` with these "
            "columns first, and inspect that"
        )
    trajectories = sources.read(source, columns)
    sys.stdout.write(inspection(trajectories, task))
    if write_task is not None:
        try:
            with write_task.open("x", encoding="utf-8") as file:
                file.write(Proposal.of(trajectories).toml(write_task.parent))
        except FileExistsError as error:
            raise ConfigError(
                f"{write_task} exists already, and may have been edited; name another file"
            ) from error


def _add_convert(converting: argparse.ArgumentParser) -> None:
    converting.add_argument("source", metavar="DATA", help=SOURCE)
    converting.add_argument("out", metavar="OUT", help="HDF5 file to write, or minari:NAMESPACE/NAME-v0")
    choice = converting.add_mutually_exclusive_group()
    choice.add_argument(
        "--episodes", type=_episode_range, metavar="A:B", help="episodes A to B - 1, counted from 0"
    )
    choice.add_argument(
        "--indices", type=Path, metavar="JSON", help="just these: a list, or an .episodes.json written before"
    )
    converting.add_argument("--sample-ratio", type=float, default=1.0, help="share of the episodes to draw")
    converting.add_argument("--seed", type=int, default=0, help="seed of that draw")
    _add_columns(converting)


def _add_columns(parser: argparse.ArgumentParser) -> None:
    """The options that say which column of a table is what, one for each field of Columns."""
    group = parser.add_argument_group(
        "columns of a .csv or .parquet file, where their names are not the usual ones"
    )
    group.add_argument("--observations", nargs="+", default=(), metavar="COLUMN", help="usual: observation.*")
    group.add_argument("--actions", nargs="+", default=(), metavar="COLUMN", help="usual: action.*")
    group.add_argument("--reward", metavar="COLUMN", help="usual: reward; none: rewards are 0")
    group.add_argument("--episode-column", dest="episode", metavar="COLUMN", help="usual: episode")
    group.add_argument("--step", metavar="COLUMN", help="usual: step")
    group.add_argument("--terminated", metavar="COLUMN", help="usual: terminated")
    group.add_argument("--truncated", metavar="COLUMN", help="usual: truncated")
    group.add_argument("--step-seconds", type=float, metavar="SECONDS", help="how long one timestep lasts")


def _columns(arguments: argparse.Namespace) -> Columns:
    return Columns(
        observations=tuple(arguments.observations),
        actions=tuple(arguments.actions),
        reward=arguments.reward,
        episode=arguments.episode,
        step=arguments.step,
        terminated=arguments.terminated,
        truncated=arguments.truncated,
        step_seconds=arguments.step_seconds,
    )


def _episode_range(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B with whole numbers 0 <= A < B")
    return int(first), int(end)
