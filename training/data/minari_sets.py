"""Reads and writes Minari sets in Minari's own folder (`MINARI_DATASETS_PATH`, or `~/.minari/datasets`)."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage
from minari.serialization import serialize_space
from minari.storage import get_dataset_path

from lamo.errors import ConfigError, DatasetError
from training.data import environment_spec, hdf5
from training.data.fingerprint import sha256_of
from training.data.minari_spaces import Layout, flattened, names_of
from training.data.trajectories import Trajectories, Trajectory

ATTRIBUTES = "lamo_attributes"
"""Minari's metadata keep under this key what a set that was written here said about itself."""

UNREADABLE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AssertionError,
    ImportError,
    gymnasium.error.Error,
)
_FOREIGN = (AttributeError, *UNREADABLE)


def read(set_id: str) -> Trajectories:
    """The Minari set of that id.

    Observations and actions that are dicts or tuples of arrays are laid end to end in the order of
    `gymnasium.spaces.utils.flatten`: a tuple in its order, a dict in the order of its space (Gymnasium sorts
    plain dicts by their keys), each array row by row. The last observation of an episode, on which no action
    was taken, is left out.

    The attribute `environment` is the set's environment for evaluation, or the one it was recorded in:
    Gymnasium's id where that says all, otherwise the whole EnvSpec as JSON.

    Raises:
        DatasetError: the set is not there or broken, leads to other files, holds anything beside boxes of
            numbers, or an episode ends before its arrays do.
    """
    name = f"minari:{set_id}"
    folder = get_dataset_path(set_id)
    if not (folder / "data").is_dir():
        raise DatasetError(f"{name} is not in {folder}; `minari download {set_id}` fetches it")
    try:
        for path in (folder / "data").glob("*.hdf5"):
            with h5py.File(path, "r") as file:
                hdf5.refuse_foreign(file, path)
        dataset = minari.load_dataset(set_id)
        layouts = _layout(dataset, "observation_space"), _layout(dataset, "action_space")
        metadata = MinariStorage.read_raw_metadata(dataset.storage.data_path)
        trajectories = tuple(_trajectory(episode, layouts, name) for episode in dataset.iterate_episodes())
    except _FOREIGN as error:
        raise DatasetError(f"{name} cannot be read: {error}") from error
    if not trajectories:
        raise DatasetError(f"{name} holds no episode")
    return Trajectories(trajectories, name, name, _sha256(folder / "data"), _attributes(metadata, *layouts))


def write(set_id: str, trajectories: Trajectories, attributes: Mapping[str, str]) -> None:
    """Write the trajectories as a new Minari set; `read` gives them back, with the attributes.

    Minari wants the observation after an episode's last action, which was not recorded: it is the last one
    again. The action space is the range of the recorded actions.

    Raises:
        ConfigError: the id is malformed.
        DatasetError: there is such a set already, or it cannot be written.
    """
    try:
        minari.dataset.minari_dataset.parse_dataset_id(set_id)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{set_id!r} is no name of a Minari set: NAMESPACE/NAME-v0") from error
    folder = get_dataset_path(set_id)
    if folder.exists():
        raise DatasetError(f"there is a Minari set {folder} already; name another version")
    try:
        _write(set_id, trajectories, attributes)
    except UNREADABLE as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DatasetError(f"minari:{set_id} cannot be written: {error}") from error


def local_ids() -> list[str]:
    """The ids of the sets in Minari's folder."""
    return list(minari.list_local_datasets())


def _write(set_id: str, trajectories: Trajectories, attributes: Mapping[str, str]) -> None:
    actions = np.concatenate([trajectory.actions for trajectory in trajectories])
    with warnings.catch_warnings():
        # Minari asks for an author, a link and the like, which nobody here knows.
        warnings.filterwarnings("ignore", category=UserWarning)
        dataset = minari.create_dataset_from_buffers(
            set_id,
            [_buffer(trajectory) for trajectory in trajectories],
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, trajectories.observation_shape, np.float32),
            action_space=gymnasium.spaces.Box(actions.min(axis=0), actions.max(axis=0), dtype=np.float32),
        )
    metadata: dict[str, object] = {ATTRIBUTES: dict(attributes)}
    spec = environment_spec.find(attributes.get("environment", ""))
    if spec is not None:
        metadata["env_spec"] = spec.to_json()
    dataset.storage.update_metadata(metadata)


def _buffer(trajectory: Trajectory) -> EpisodeBuffer:
    ends = np.zeros(len(trajectory), dtype=bool)
    last = np.append(ends[1:], True)
    return EpisodeBuffer(
        observations=np.concatenate([trajectory.observations, trajectory.observations[-1:]]),
        actions=trajectory.actions,
        rewards=trajectory.rewards,
        terminations=last if trajectory.terminated else ends,
        truncations=ends if trajectory.terminated else last,
    )


def _layout(dataset: minari.MinariDataset, key: str) -> Layout:
    """The space as it was written down: reading it back sorts a dict's keys, and the environment may not."""
    written = MinariStorage.read_raw_metadata(dataset.storage.data_path).get(key)
    layout: Layout = json.loads(written or serialize_space(getattr(dataset, key)))
    return layout


def _trajectory(episode: minari.EpisodeData, layouts: tuple[Layout, Layout], name: str) -> Trajectory:
    source = f"{name}, episode {episode.id}"
    ends = np.flatnonzero(np.asarray(episode.terminations, bool) | np.asarray(episode.truncations, bool))
    steps = len(episode.rewards)
    if steps == 0 or (len(ends) and ends[0] < steps - 1):
        raise DatasetError(f"{source} has {steps} steps and ends at step {ends[0] if len(ends) else 'none'}")
    observations = flattened(layouts[0], episode.observations, steps, f"{source}: observations")
    actions = flattened(layouts[1], episode.actions, steps, f"{source}: actions").reshape(steps, -1)
    rewards = np.asarray(episode.rewards, dtype=np.float64)
    for key, values in (("observations", observations), ("actions", actions), ("rewards", rewards)):
        if not np.isfinite(values).all():
            raise DatasetError(f"{source}: {key} are not finite")
    return Trajectory(observations, actions, rewards, bool(episode.terminations[-1]))


def _attributes(metadata: Mapping[str, Any], observation: Layout, action: Layout) -> dict[str, str]:
    attributes = {str(key): str(value) for key, value in metadata.get(ATTRIBUTES, {}).items()}
    attributes["minari_version"] = str(metadata.get("minari_version"))
    names = {"observations": names_of(observation), "actions": names_of(action)}
    if any(names.values()):
        attributes.setdefault("names", json.dumps({key: value for key, value in names.items() if value}))
    written = metadata.get("eval_env_spec") or metadata.get("env_spec")
    if written is not None:
        attributes.setdefault("environment", environment_spec.tell(str(written)))
    for attribute, key in (("reference_random", "ref_min_score"), ("reference_expert", "ref_max_score")):
        if metadata.get(key) is not None:
            attributes[attribute] = repr(float(metadata[key]))
    return attributes


def _sha256(folder: Path) -> str:
    """Over the names and hashes of all the set's files, in the order of their names."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
