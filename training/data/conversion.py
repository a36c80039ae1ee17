"""Copies a data set, or a part of it, to an HDF5 file or a Minari set, and writes down which part it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamo.errors import ConfigError
from training.data import hdf5, minari_sets, sources
from training.data.trajectories import Trajectories

HDF5_SUFFIXES = (".hdf5", ".h5")


def convert(
    complete: Trajectories,
    out: str,
    *,
    episodes: tuple[int, int] | None = None,
    sample_ratio: float = 1.0,
    seed: int = 0,
    indices: Path | None = None,
) -> None:
    """Copy chosen episodes to `out`; their indices in the source go beside a file as `<stem>.episodes.json`.

    A Minari set keeps them in its attributes.

    Args:
        complete: what is copied from.
        out: an .hdf5 or .h5 file, or `minari:NAMESPACE/NAME-v0`.
        episodes: the first and the one after the last to choose from; None: all.
        sample_ratio: share of those to draw.
        seed: of that draw.
        indices: a JSON file that names the episodes; then nothing is drawn.

    Raises:
        ConfigError: `out` is the source, or the choice makes no sense.
        DatasetError: the choice leaves the source, or `out` cannot be written.
    """
    to_minari = out.startswith(sources.MINARI_PREFIX)
    if not to_minari:
        refuse_other_suffix(Path(out))
    if complete.source and Path(out).resolve() == Path(complete.source).resolve():
        raise ConfigError(f"{out} would be overwritten by a part of itself; name another file to write")
    if indices is None:
        chosen, choice = (
            _drawn(complete, episodes, sample_ratio, seed),
            {"sample_ratio": sample_ratio, "seed": seed},
        )
    elif episodes is None and sample_ratio == 1.0:
        chosen, choice = sources.read_indices(indices), {}
    else:
        raise ConfigError(f"{indices} names the episodes; a range or a share of them cannot be asked for too")
    part = complete.subset(chosen)
    origin = {"source": _name(complete.source), "source_sha256": complete.sha256}
    record = {**origin, **choice, "episodes": chosen.tolist()}
    if to_minari:
        attributes = {**complete.attributes, **origin, "source_episodes": json.dumps(chosen.tolist())}
        minari_sets.write(out.removeprefix(sources.MINARI_PREFIX), part, attributes)
    else:
        hdf5.write(Path(out), part, {**complete.attributes, **origin})
        _write_json(Path(out).with_suffix(".episodes.json"), record)


def refuse_other_suffix(out: Path) -> None:
    """Refuse a file that cannot be HDF5 by its name.

    Raises:
        ConfigError: it ends in neither .hdf5 nor .h5.
    """
    if out.suffix not in HDF5_SUFFIXES:
        raise ConfigError(f"{out} ends in {out.suffix!r}; data is written as HDF5, to .hdf5 or .h5")


def _drawn(
    complete: Trajectories, episodes: tuple[int, int] | None, sample_ratio: float, seed: int
) -> NDArray[np.int64]:
    first, end = episodes or (0, len(complete))
    return first + complete.subset(range(first, end)).draw_indices(sample_ratio, seed)


def _name(source: str) -> str:
    """A set's id, or a file's name without its folder, which says nothing elsewhere."""
    return source if source.startswith((sources.D4RL_PREFIX, sources.MINARI_PREFIX)) else Path(source).name


def _write_json(path: Path, document: Mapping[str, object]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
