"""D4RL's flat layout in HDF5 files and NumPy archives: splitting, round trips, and every refusal."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lamo.errors import DatasetError
from training.data import hdf5, npz
from training.data.trajectories import Trajectories
from training.tasks.task import read_task

Arrays = dict[str, np.ndarray]


def flat_arrays(steps: int = 6, terminals: tuple[int, ...] = (1,), timeouts: tuple[int, ...] = (5,)) -> Arrays:
    flags = {"terminals": np.zeros(steps, bool), "timeouts": np.zeros(steps, bool)}
    flags["terminals"][list(terminals)] = True
    flags["timeouts"][list(timeouts)] = True
    return {
        "observations": np.arange(steps * 3, dtype=np.float32).reshape(steps, 3),
        "actions": np.arange(steps * 2, dtype=np.float32).reshape(steps, 2) / 100,
        "rewards": np.arange(steps, dtype=np.float32),
        **flags,
    }


def written_hdf5(path: Path, arrays: Arrays) -> Path:
    path = path / "recording.hdf5"
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def written_npz(path: Path, arrays: Arrays) -> Path:
    path = path / "recording.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(params=["hdf5", "npz"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Arrays], Trajectories]:
    """Writes the arrays to a file of one of the two kinds and reads that."""
    if request.param == "hdf5":
        return lambda arrays: hdf5.read(written_hdf5(tmp_path, arrays))
    return lambda arrays: npz.read(written_npz(tmp_path, arrays))


Read = Callable[[Arrays], Trajectories]


def test_episodes_end_on_the_flagged_step_itself(read: Read) -> None:
    trajectories = read(flat_arrays(terminals=(1,), timeouts=(5,)))
    assert [trajectory.rewards.tolist() for trajectory in trajectories] == [[0, 1], [2, 3, 4, 5]]
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    assert trajectories[1].observations[0].tolist() == [6, 7, 8]
    assert trajectories[1].actions[0].tolist() == pytest.approx([0.04, 0.05])


def test_values_have_the_projects_types(read: Read) -> None:
    arrays = flat_arrays()
    arrays["terminals"] = arrays["terminals"].astype(np.float32)
    arrays["observations"] = arrays["observations"].astype(np.float64)
    trajectory = read(arrays)[0]
    assert trajectory.observations.dtype == trajectory.actions.dtype == np.float32
    assert trajectory.rewards.dtype == np.float64
    assert trajectory.terminated is True


def test_a_piece_without_an_end_is_kept_as_a_truncated_trajectory(read: Read) -> None:
    trajectories = read(flat_arrays(terminals=(1,), timeouts=(3,)))
    assert trajectories.lengths.tolist() == [2, 2, 2]
    assert trajectories[2].terminated is False


def test_a_recording_without_any_flag_is_one_truncated_trajectory(read: Read) -> None:
    assert read(flat_arrays(terminals=(), timeouts=())).lengths.tolist() == [6]


def test_a_step_with_both_flags_terminated(read: Read) -> None:
    assert [trajectory.terminated for trajectory in read(flat_arrays(terminals=(5,), timeouts=(5,)))] == [True]


def test_image_observations_keep_their_shape(read: Read) -> None:
    arrays = flat_arrays() | {"observations": np.ones((6, 4, 5), np.uint8)}
    assert read(arrays).observation_shape == (4, 5)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals", "timeouts"])
def test_a_missing_array_is_named_with_those_present(read: Read, key: str) -> None:
    arrays = {**flat_arrays(), "infos": np.zeros(3)}
    del arrays[key]
    with pytest.raises(DatasetError, match=rf"recording\.\w+ has no array '{key}'; arrays present: .*infos"):
        read(arrays)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rewards": np.zeros(5)}, "different numbers of steps: observations 6, actions 6, rewards 5"),
        ({"rewards": np.zeros((6, 2))}, r"rewards has shape \[6, 2\], expected \[steps\]"),
        ({"observations": np.zeros(6)}, r"observations has shape \[6\], expected \[steps, ...\]"),
        ({"actions": np.zeros(6, np.int64)}, r"actions has shape \[6\], expected \[steps, action_dim\]"),
        ({"actions": np.full((6, 2), b"left")}, r"actions is of type \|S4, not numbers"),
        (
            {"rewards": np.array([0, 1, np.nan, 3, np.inf, 5])},
            "rewards is not finite at 2 of 6 steps, first at 2",
        ),
        ({"observations": np.full((6, 3), np.inf)}, "observations is not finite at 6 of 6 steps, first at 0"),
        ({"actions": np.full((6, 2), np.nan)}, "actions is not finite at 6 of 6 steps"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused(read: Read, change: Arrays, sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        read(flat_arrays() | change)


def test_a_recording_without_steps_is_refused(read: Read) -> None:
    with pytest.raises(DatasetError, match="holds no step at all"):
        read(flat_arrays(steps=0, terminals=(), timeouts=()))


@pytest.mark.parametrize("reader", [hdf5.read, npz.read])
def test_a_missing_file_is_named(reader: Callable[[Path], Trajectories], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no data file .*nowhere\.hdf5"):
        reader(tmp_path / "nowhere.hdf5")


@pytest.mark.parametrize("reader", [hdf5.read, npz.read])
@pytest.mark.parametrize("content", [b"", b"plain text, no container"])
def test_a_file_of_another_kind_is_refused(
    reader: Callable[[Path], Trajectories], content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "text.hdf5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"text\.hdf5 cannot be read as"):
        reader(path)


@pytest.mark.parametrize(("reader", "writer"), [(hdf5.read, written_hdf5), (npz.read, written_npz)])
def test_a_file_cut_short_is_refused(
    reader: Callable[[Path], Trajectories], writer: Callable[[Path, Arrays], Path], tmp_path: Path
) -> None:
    path = writer(tmp_path, flat_arrays())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DatasetError, match="cannot be read as"):
        reader(path)


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': '<f4'", b"not a header"])
def test_an_archive_with_a_broken_array_is_refused(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rewards.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(DatasetError, match=r"broken\.npz cannot be read as a NumPy archive"):
        npz.read(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    arrays = flat_arrays() | {"actions": np.array([{"a": 1}] * 6)}
    with pytest.raises(DatasetError, match="cannot be read as a NumPy archive"):
        npz.read(written_npz(tmp_path, arrays))


def test_what_is_written_reads_back_unchanged(tmp_path: Path) -> None:
    original = hdf5.read(written_hdf5(tmp_path, flat_arrays(terminals=(1,), timeouts=(3,))))
    copy_path = tmp_path / "folder" / "copy.hdf5"
    hdf5.write(copy_path, original, {"task": "reacher2d", "seed": 3})
    copy = hdf5.read(copy_path)
    assert copy.name == "copy"
    assert copy.attributes == {"task": "reacher2d", "seed": "3"}
    for was, now in zip(original, copy, strict=True):
        assert np.array_equal(was.observations, now.observations)
        assert np.array_equal(was.actions, now.actions)
        assert np.array_equal(was.rewards, now.rewards)
        assert was.terminated == now.terminated


def test_the_same_trajectories_give_the_same_bytes(tmp_path: Path) -> None:
    trajectories = hdf5.read(written_hdf5(tmp_path, flat_arrays()))
    for name in ("one.hdf5", "two.hdf5"):
        hdf5.write(tmp_path / name, trajectories, {"seed": 0})
    assert (tmp_path / "one.hdf5").read_bytes() == (tmp_path / "two.hdf5").read_bytes()
    assert hdf5.read(tmp_path / "one.hdf5").sha256 == hdf5.read(tmp_path / "two.hdf5").sha256


def test_a_failed_write_leaves_what_was_there_and_no_scrap(tmp_path: Path) -> None:
    trajectories = hdf5.read(written_hdf5(tmp_path, flat_arrays()))
    taken = tmp_path / "taken.hdf5"
    (taken / "inside").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"taken\.hdf5 cannot be written"):
        hdf5.write(taken, trajectories, {"seed": 0})
    assert (taken / "inside").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recording.hdf5", "taken.hdf5"]


@pytest.mark.parametrize(
    ("name", "episodes", "terminated", "score"),
    [
        ("hopper-medium", 236, 213, 48),
        ("hopper-expert", 34, 13, 101),
        ("walker2d-medium", 126, 71, 74),
        ("halfcheetah-expert", 30, 0, 95),
    ],
)
def test_real_files_split_into_their_documented_episodes(
    shared_data: Path, name: str, episodes: int, terminated: int, score: float
) -> None:
    trajectories = hdf5.read(shared_data / "mujoco" / f"{name}.hdf5")
    assert len(trajectories) == episodes
    assert sum(trajectory.terminated for trajectory in trajectories) == terminated
    mean_return = float(trajectories.episode_returns.mean())
    assert mean_return == pytest.approx(float(trajectories.attributes["mean_return"]), rel=1e-5)
    reference = read_task(f"{name.partition('-')[0]}-medium").task.reference_returns
    assert reference is not None
    assert reference.normalized_score(mean_return) == pytest.approx(score, abs=0.5)
    assert trajectories.lengths.max() <= 1000


def test_a_recorded_archive_splits_into_its_demonstrations(shared_data: Path) -> None:
    path = shared_data / "recorded" / "hand_dapg_door" / "door_human_25.npz"
    with np.load(path, allow_pickle=False) as archive:
        lengths = archive["lengths"].tolist()
    assert npz.read(path).lengths.tolist() == lengths
