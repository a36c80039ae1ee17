"""The `lamo-train data` commands: make offline data, convert recorded data, and look at either."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lamo.errors import ConfigError, DatasetError
from training import hdf5, npz
from training.recording import BEHAVIOR_POLICY, episode_seeds, record_episodes
from training.task import read_task, task_names
from training.trajectories import Trajectories
from training.version import code_version

HDF5_SUFFIXES = (".hdf5", ".h5")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the `make`, `convert` and `inspect` commands on the parser of `data`."""
    commands = parser.add_subparsers(dest="data_command", required=True, metavar="COMMAND")
    making = commands.add_parser("make", help="record offline data with a scripted behavior policy")
    making.add_argument("--task", default="reacher2d", help="the task to play; a script exists for reacher2d")
    making.add_argument("--episodes", type=int, default=500, help="episodes to record (default %(default)s)")
    making.add_argument("--seed", type=int, default=0, help="the same seed makes the same file, byte for byte")
    making.add_argument("--out", type=Path, required=True, metavar="FILE", help="HDF5 file to write")

    converting = commands.add_parser("convert", help="copy a recording, or a part of it, to an HDF5 file")
    converting.add_argument("source", type=Path, metavar="IN", help=".hdf5 or .npz in D4RL's flat layout")
    converting.add_argument("out", type=Path, metavar="OUT", help="HDF5 file to write")
    converting.add_argument(
        "--episodes", type=_episode_range, metavar="A:B", help="episodes A to B - 1, counted from 0"
    )
    converting.add_argument("--sample-ratio", type=float, default=1.0, help="share of those episodes to draw")
    converting.add_argument("--seed", type=int, default=0, help="seed of that draw")

    inspecting = commands.add_parser("inspect", help="print what a data file holds")
    inspecting.add_argument("source", type=Path, metavar="FILE", help=".hdf5 or .npz in D4RL's flat layout")
    inspecting.add_argument("--task", help=f"give normalized scores of this task: {', '.join(task_names())}")


def run(arguments: argparse.Namespace) -> None:
    """Carry out the parsed command; an InputError it raises is one sentence for whoever typed it."""
    if arguments.data_command == "make":
        make(arguments.task, arguments.episodes, arguments.seed, arguments.out)
    elif arguments.data_command == "convert":
        convert(arguments.source, arguments.out, arguments.episodes, arguments.sample_ratio, arguments.seed)
    else:
        sys.stdout.write(inspection(read(arguments.source), arguments.task))


def read(name: str | Path) -> Trajectories:
    """The data set in an HDF5 file or NumPy archive, told apart by the name's end.

    Raises:
        DatasetError: neither of the two, or what `hdf5.read` and `npz.read` refuse.
    """
    path = Path(name)
    if path.suffix == ".npz":
        return npz.read(path)
    if path.suffix in HDF5_SUFFIXES:
        return hdf5.read(path)
    raise DatasetError(f"{path} ends in {path.suffix!r}; data files end in .hdf5, .h5 or .npz")


def read_indices(path: Path) -> NDArray[np.int64]:
    """The trajectory indices that a JSON file lists."""
    return np.array(json.loads(path.read_text(encoding="utf-8"))["episodes"], np.int64)


def make(task: str, episodes: int, seed: int, out: Path) -> None:
    """Record `episodes` episodes of the task's scripted behavior policy into the HDF5 file `out`.

    Raises:
        ConfigError: no behavior policy is scripted for the task, or the numbers make no sense.
        DatasetError: the file cannot be written.
    """
    if read_task(task).task.name != "reacher2d":
        raise ConfigError(f"no behavior policy is scripted for task {task!r}; data is made for reacher2d only")
    _refuse_other_suffix(out)
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


def convert(source: Path, out: Path, episodes: tuple[int, int] | None, sample_ratio: float, seed: int) -> None:
    """Copy chosen episodes to `out`; their indices in the source go beside it, as `<stem>.episodes.json`.

    Raises:
        ConfigError: `out` is the source, or the choice makes no sense.
        DatasetError: the source cannot be used, the range leaves it, or `out` cannot be written.
    """
    _refuse_other_suffix(out)
    if out.resolve() == source.resolve():
        raise ConfigError(f"{out} would be overwritten by a part of itself; name another file to write")
    trajectories = read(source)
    first, end = episodes or (0, len(trajectories))
    chosen = trajectories.subset(range(first, end))
    indices = first + chosen.draw_indices(sample_ratio, seed)
    origin = {"source": source.name, "source_sha256": trajectories.sha256}
    hdf5.write(out, trajectories.subset(indices), {**trajectories.attributes, **origin})
    choice = {"sample_ratio": sample_ratio, "seed": seed, "episodes": indices.tolist()}
    _write_json(out.with_suffix(".episodes.json"), {**origin, **choice})


def inspection(trajectories: Trajectories, task: str | None) -> str:
    """What a data set holds, one fact per line; what the file says about itself is in [brackets]."""
    returns = trajectories.episode_returns
    observations = np.concatenate([trajectory.observations for trajectory in trajectories])
    actions = np.concatenate([trajectory.actions for trajectory in trajectories])
    terminated = sum(trajectory.terminated for trajectory in trajectories)
    rows = {
        "file": trajectories.source,
        "sha256": trajectories.sha256,
        "episodes": str(len(trajectories)),
        "ends": f"{terminated} terminated, {len(trajectories) - terminated} truncated",
        "steps": str(len(observations)),
        "episode lengths": _five_numbers(trajectories.lengths.astype(np.float64)),
        "episode returns": _five_numbers(returns),
        "mean return": f"{returns.mean():.2f} (standard deviation {returns.std():.2f})",
        "observations": _extent(observations),
        "actions": _extent(actions),
    }
    rows |= {f"[{name}]": value for name, value in trajectories.attributes.items()}
    if task is not None:
        reference = read_task(task).task.reference_returns
        score = "-" if reference is None else f"{reference.normalized_score(float(returns.mean())):.2f}"
        rows["mean normalized score"] = f"{score} ({task})"
    width = max(len(name) for name in rows)
    return "".join(f"{name:<{width}}  {value}\n" for name, value in rows.items())


def _five_numbers(values: NDArray[np.float64]) -> str:
    quantiles = np.quantile(values, (0.0, 0.25, 0.5, 0.75, 1.0))
    names = ("min", "25 %", "median", "75 %", "max")
    return ", ".join(f"{name} {value:.5g}" for name, value in zip(names, quantiles, strict=True))


def _extent(
    values: NDArray[np.float32],  # [steps, ...]
) -> str:
    return f"shape {list(values.shape[1:])}, from {values.min():.5g} to {values.max():.5g}"


def _episode_range(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    if not (colon and first.isdecimal() and end.isdecimal() and int(first) < int(end)):
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B with whole numbers 0 <= A < B")
    return int(first), int(end)


def _refuse_other_suffix(out: Path) -> None:
    if out.suffix not in HDF5_SUFFIXES:
        raise ConfigError(f"{out} ends in {out.suffix!r}; data is written as HDF5, to .hdf5 or .h5")


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
