"""D4RL's sets by id: the registry of the `d4rl` package, its cache folder, and how its files are read."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from lamo.errors import ConfigError, DatasetError
from lamo.scores import ReferenceReturns
from training.data import hdf5
from training.data.d4rl_sha256 import SHA256
from training.data.download import download
from training.data.trajectories import Trajectories

FOLDER_VARIABLE = "D4RL_DATASET_DIR"
MIRROR_VARIABLE = "LAMO_D4RL_MIRROR"
"""Where to download from instead: it stands for everything of D4RL's URLs up to and with `/offline_rl`."""

_ROOT = "/offline_rl/"

ENVIRONMENTS = MappingProxyType(
    {"hopper": "Hopper-v4", "walker2d": "Walker2d-v4", "halfcheetah": "HalfCheetah-v4"},
)
"""The Gymnasium environments whose spaces are those of D4RL's locomotion sets; Ant's and the others' differ."""

# The limits that D4RL registers its environments with, for the families whose first files have no `timeouts`.
# A pattern fits ids and file names alike.
_TIME_LIMITS = (
    (re.compile(r"kitchen", re.ASCII), 280),
    (re.compile(r"^ant_?maze[-_]u-?maze", re.IGNORECASE), 700),
    (re.compile(r"^ant_?maze", re.IGNORECASE), 1000),
    (re.compile(r"^(hopper|walker|walker2d|halfcheetah|ant)[-_]"), 1000),
)


@dataclass(frozen=True)
class D4rlSet:
    """One entry of D4RL's registry.

    Attributes:
        id: such as `hopper-medium-v2`.
        url: where D4RL keeps the file.
        reference: raw returns that scores 0 and 100 stand for; None where D4RL gives none.
    """

    id: str
    url: str
    reference: ReferenceReturns | None

    @property
    def path(self) -> Path:
        """Where the file lies, or will: in D4RL's own cache folder, which `D4RL_DATASET_DIR` moves."""
        folder = os.environ.get(FOLDER_VARIABLE, "~/.d4rl/datasets")
        return Path(folder).expanduser() / self.url.rpartition("/")[2]

    @property
    def download_url(self) -> str:
        """The URL, on the mirror where one is set."""
        mirror = os.environ.get(MIRROR_VARIABLE, "")
        if not mirror:
            return self.url
        path = urlsplit(self.url).path
        return f"{mirror.rstrip('/')}/{path.partition(_ROOT)[2] or path.lstrip('/')}"


def find(set_id: str) -> D4rlSet:
    """The set of that id; ConfigError names the nearest ones, or the package that is missing."""
    urls, random, expert = _registry()
    if set_id not in urls:
        family = set_id.partition("-")[0]
        known = ", ".join(name for name in sorted(urls) if name.startswith(family)) or f"{len(urls)} others"
        raise ConfigError(f"D4RL has no set {set_id!r}; it has {known}")
    reference = ReferenceReturns(random[set_id], expert[set_id]) if set_id in random.keys() & expert else None
    return D4rlSet(set_id, urls[set_id], reference)


def known_ids() -> list[str]:
    """Every id of the registry, sorted."""
    return sorted(_registry()[0])


def fetch(set_id: str, known_hashes: Mapping[str, str] = SHA256) -> Path:
    """The set's file, downloaded into D4RL's cache folder unless it lies there.

    Raises:
        ConfigError: no such set, or the `d4rl` package is not installed.
        DatasetError: it cannot be downloaded, or what came is not the file; the sentence says which file to
            put where.
    """
    entry = find(set_id)
    if not entry.path.is_file():
        try:
            download(entry.download_url, entry.path, sha256=known_hashes.get(entry.path.name), check=hdf5.check)
        except DatasetError as error:
            raise DatasetError(
                f"{error}; to go on without the download put the file {entry.path.name} at {entry.path}, "
                f"or set {MIRROR_VARIABLE} to a host that has it"
            ) from error
    return entry.path


def read(set_id: str, known_hashes: Mapping[str, str] = SHA256) -> Trajectories:
    """The set of that id, named for it, with its environment and reference returns among the attributes.

    Raises:
        ConfigError, DatasetError: as in `fetch`; or the hash is not the known one, or `hdf5.read` refuses it.
    """
    entry = find(set_id)
    path = fetch(set_id, known_hashes)
    trajectories = hdf5.read(path, time_limit(set_id))
    known = known_hashes.get(path.name, trajectories.sha256)
    if trajectories.sha256 != known:
        raise DatasetError(f"{path} has SHA-256 {trajectories.sha256}, D4RL's file has {known}; remove it")
    attributes = {"d4rl_id": set_id, **trajectories.attributes}
    family = set_id.partition("-")[0]
    if family in ENVIRONMENTS:
        attributes["environment"] = ENVIRONMENTS[family]
    if entry.reference is not None:
        attributes["reference_random"] = repr(entry.reference.random)
        attributes["reference_expert"] = repr(entry.reference.expert)
    return replace(trajectories, name=f"d4rl:{set_id}", source=f"d4rl:{set_id}", attributes=attributes)


def time_limit(name: str) -> int | None:
    """Steps after which episodes of the set with this id or file name were cut off; None where unknown."""
    return next((limit for pattern, limit in _TIME_LIMITS if pattern.search(name)), None)


@cache
def _registry() -> tuple[dict[str, str], dict[str, float], dict[str, float]]:
    """URLs, random and expert returns by id, from `d4rl/infos.py` alone.

    The package's `__init__` imports simulators that need `mujoco_py`'s binaries and prints what it misses, so
    the module is loaded by its file: finding a package's place does not execute it.
    """
    package = importlib.util.find_spec("d4rl")
    if package is None or not package.submodule_search_locations:
        raise ConfigError("d4rl:... needs D4RL's registry: pip install --no-deps d4rl==1.1")
    path = Path(package.submodule_search_locations[0]) / "infos.py"
    spec = importlib.util.spec_from_file_location("d4rl_infos", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"the installed d4rl package has no registry {path}")
    infos = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(infos)
    return infos.DATASET_URLS, infos.REF_MIN_SCORE, infos.REF_MAX_SCORE
