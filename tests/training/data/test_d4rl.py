"""D4RL's registry from its package, and its sets from a host on loopback that stands for D4RL's."""

import functools
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from lamo.errors import ConfigError, DatasetError
from training.data import d4rl, sources
from training.tasks.task import read_task

HOPPER = "hopper-medium-v2"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a host that holds D4RL's files; the cache folder is empty."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        monkeypatch.setenv("LAMO_D4RL_MIRROR", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path / "cache"))
        yield folder
        server.shutdown()
        thread.join()


def write_set(path: Path, **changes: np.ndarray | None) -> Path:
    """Seven steps: an episode of three that terminated, one of two that timed out, and a piece of two."""
    arrays: dict[str, np.ndarray | None] = {
        "observations": np.arange(77, dtype=np.float32).reshape(7, 11),
        "actions": np.zeros((7, 3), np.float32),
        "rewards": np.ones(7, np.float32),
        "terminals": np.array([0, 0, 1, 0, 0, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0, 0], bool),
        **changes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            if array is not None:
                file[key] = array
        file["infos/qpos"] = np.zeros((7, 2))
    return path


def hopper_file(mirror: Path) -> Path:
    return write_set(mirror / "gym_mujoco_v2" / "hopper_medium-v2.hdf5")


def test_the_registry_is_read_without_the_simulators() -> None:
    before = set(sys.modules)
    entry = d4rl.find("kitchen-complete-v0")
    assert entry.url.endswith("/kitchen/mini_kitchen_microwave_kettle_light_slider-v0.hdf5")
    assert (entry.reference.random, entry.reference.expert) == (0.0, 4.0)
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("d4rl", "gym", "mujoco_py")}


@pytest.mark.parametrize("task", ["hopper", "walker2d", "halfcheetah", "ant"])
def test_reference_returns_are_those_the_project_scores_with(task: str) -> None:
    assert d4rl.find(f"{task}-medium-v2").reference == read_task(f"{task}-medium").task.reference_returns


def test_every_set_of_the_paper_is_known() -> None:
    locomotion = {
        f"{task}-{kind}-v2"
        for task in ("hopper", "walker2d", "halfcheetah")
        for kind in ("medium", "medium-replay", "medium-expert")
    }
    assert locomotion | {"ant-medium-v2", "kitchen-complete-v0", "kitchen-partial-v0"} <= set(d4rl.known_ids())


def test_an_unknown_id_is_refused_with_its_neighbours() -> None:
    with pytest.raises(ConfigError, match=r"no set 'hopper-good-v2'; it has hopper-expert-v0, .*hopper-random-v2"):
        d4rl.find("hopper-good-v2")


def test_a_missing_package_is_said_with_the_command_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d4rl, "_registry", d4rl._registry.__wrapped__)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install --no-deps d4rl==1\.1"):
        d4rl.find(HOPPER)


def test_the_cache_folder_is_d4rls_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("D4RL_DATASET_DIR", raising=False)
    assert d4rl.find(HOPPER).path == Path.home() / ".d4rl" / "datasets" / "hopper_medium-v2.hdf5"


def test_without_a_mirror_the_url_is_d4rls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMO_D4RL_MIRROR", raising=False)
    assert d4rl.find(HOPPER).download_url == d4rl.find(HOPPER).url


def test_a_set_is_downloaded_once_and_read_with_what_d4rl_knows_of_it(mirror: Path) -> None:
    remote = hopper_file(mirror)
    trajectories = sources.read("d4rl:hopper-medium-v2")
    assert trajectories.lengths.tolist() == [3, 2, 2]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False, False]
    assert (trajectories.name, trajectories.source) == ("d4rl:hopper-medium-v2", "d4rl:hopper-medium-v2")
    assert trajectories.sha256 == hashlib.sha256(remote.read_bytes()).hexdigest()
    assert trajectories.attributes["environment"] == "Hopper-v4"
    assert float(trajectories.attributes["reference_expert"]) == 3234.3
    remote.unlink()
    assert sources.read("d4rl:hopper-medium-v2").lengths.tolist() == [3, 2, 2]


def test_without_the_host_the_sentence_says_which_file_to_put_where(mirror: Path, tmp_path: Path) -> None:
    place = tmp_path / "cache" / "hopper_medium-v2.hdf5"
    sentence = f"404 .*put the file hopper_medium-v2.hdf5 at {place}, or set LAMO_D4RL_MIRROR"
    with pytest.raises(DatasetError, match=sentence):
        d4rl.read(HOPPER)
    write_set(place)
    assert len(d4rl.read(HOPPER)) == 3


def test_a_known_hash_is_held_against_the_download_and_the_cache(mirror: Path) -> None:
    remote = hopper_file(mirror)
    right = {"hopper_medium-v2.hdf5": hashlib.sha256(remote.read_bytes()).hexdigest()}
    wrong = {"hopper_medium-v2.hdf5": "0" * 64}
    with pytest.raises(DatasetError, match=r"is not the file: it has SHA-256 .*the known one is 000"):
        d4rl.fetch(HOPPER, wrong)
    assert not d4rl.find(HOPPER).path.exists()
    assert len(d4rl.read(HOPPER, right)) == 3
    with pytest.raises(DatasetError, match=r"hopper_medium-v2\.hdf5 has SHA-256 .*D4RL's file has 000"):
        d4rl.read(HOPPER, wrong)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"<html>moved</html>", "cannot be opened as HDF5"), (None, "cannot be opened as HDF5")],
    ids=["a web page", "a file cut short on the host"],
)
def test_what_is_no_whole_hdf5_never_reaches_the_cache(mirror: Path, content: bytes | None, sentence: str) -> None:
    remote = hopper_file(mirror)
    remote.write_bytes(remote.read_bytes()[:-50] if content is None else content)
    with pytest.raises(DatasetError, match=sentence):
        d4rl.fetch(HOPPER)
    assert not [path for path in d4rl.find(HOPPER).path.parent.iterdir() if path.suffix != ".lock"]


def test_hdf5_of_something_else_never_reaches_the_cache(mirror: Path) -> None:
    write_set(mirror / "gym_mujoco_v2" / "hopper_medium-v2.hdf5", observations=None)
    with pytest.raises(DatasetError, match="holds actions, infos, rewards, terminals, timeouts, no observations"):
        d4rl.fetch(HOPPER)


def test_kitchen_has_no_timeouts_and_keeps_its_last_demonstration(tmp_path: Path) -> None:
    path = write_set(tmp_path / "kitchen_microwave_kettle_light_slider-v0.hdf5", timeouts=None)
    trajectories = sources.read(str(path))
    assert trajectories.lengths.tolist() == [3, 4]
    assert "280 steps" in trajectories.attributes["timeouts"]


def test_without_timeouts_every_episode_is_cut_at_its_own_limit(tmp_path: Path) -> None:
    steps = 2600
    terminals = np.zeros(steps, bool)
    terminals[299] = True
    path = write_set(
        tmp_path / "hopper_medium.hdf5",
        observations=np.zeros((steps, 11)),
        actions=np.zeros((steps, 3)),
        rewards=np.zeros((steps, 1)),
        terminals=terminals[:, None],
        timeouts=None,
    )
    trajectories = sources.read(str(path))
    assert trajectories.lengths.tolist() == [300, 1000, 1000, 300]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False, False, False]


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse.hdf5", 700),
        ("antmaze-medium-play-v0", 1000),
        ("walker_mixed.hdf5", 1000),
        ("ant-medium-v0", 1000),
        ("mini_kitchen_microwave_kettle_light_slider-v0.hdf5", 280),
        ("pen-human-v0", None),
        ("anthill_lamp.hdf5", None),
    ],
)
def test_time_limits_are_known_for_the_families_that_need_them(name: str, limit: int | None) -> None:
    assert d4rl.time_limit(name) == limit
