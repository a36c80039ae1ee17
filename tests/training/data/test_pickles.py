"""The pickles of Decision Transformer and LaMo: every protocol is read, every foreign name is refused unrun."""

import os
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamo.errors import DatasetError
from training.data import array_pickle, sources

Episode = dict[str, np.ndarray]


def episode(steps: int, *, terminated: bool) -> Episode:
    generator = np.random.default_rng(steps)
    terminals = np.zeros(steps, bool)
    terminals[-1] = terminated
    return {
        "observations": generator.normal(size=(steps, 3)).astype(np.float32),
        "next_observations": generator.normal(size=(steps, 3)).astype(np.float32),
        "actions": generator.normal(size=(steps, 2)),
        "rewards": generator.normal(size=steps).astype(np.float32),
        "terminals": terminals,
    }


def written(path: Path, content: object, protocol: int = 4) -> str:
    file = path / "hopper-medium-v2.pkl"
    file.write_bytes(pickle.dumps(content, protocol=protocol))
    return str(file)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_the_trajectories_back(tmp_path: Path, protocol: int) -> None:
    episodes = [episode(4, terminated=True), episode(6, terminated=False)]
    trajectories = sources.read(written(tmp_path, episodes, protocol))
    assert [trajectory.terminated for trajectory in trajectories] == [True, False]
    for trajectory, original in zip(trajectories, episodes, strict=True):
        assert np.array_equal(trajectory.observations, original["observations"])
        assert np.array_equal(trajectory.actions, original["actions"].astype(np.float32))
        assert np.array_equal(trajectory.rewards, original["rewards"])


def test_the_names_of_numpy_1_are_read(tmp_path: Path) -> None:
    path = Path(written(tmp_path, [episode(4, terminated=True)], protocol=0))
    old = path.read_bytes().replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray")
    assert old != path.read_bytes()
    path.write_bytes(old)
    assert sources.read(str(path)).lengths.tolist() == [4]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(10)[::2],
        np.array(5.0),
        np.zeros((0, 3)),
        np.float32(2.5),
        np.bool_(True),
    ],
    ids=["big-endian", "fortran", "transposed", "strided", "0-d", "empty", "scalar", "flag"],
)
def test_arrays_of_every_layout_are_what_they_were(tmp_path: Path, array: np.ndarray, protocol: int) -> None:
    loaded = array_pickle.load(Path(written(tmp_path, {"a": [array, (array, 1, "x", None)]}, protocol)))
    assert isinstance(loaded, dict)
    for value in (loaded["a"][0], loaded["a"][1][0]):
        assert (value.dtype, value.shape) == (array.dtype, array.shape)
        assert np.array_equal(value, array)


class Payload:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "numpy.savetxt"])
def test_a_hostile_pickle_is_refused_before_it_runs(tmp_path: Path, name: str, protocol: int) -> None:
    trace = tmp_path / "it ran"
    payload = {
        "posix.system": Payload(os.system, f"touch '{trace}'"),
        "builtins.eval": Payload(eval, f"__import__('pathlib').Path({str(trace)!r}).touch()"),
        "numpy.savetxt": Payload(np.savetxt, str(trace), [1.0]),
    }[name]
    path = written(tmp_path, [{**episode(4, terminated=True), "infos": payload}], protocol)
    with pytest.raises(
        DatasetError, match=r"it asks for \S+\.(system|eval|savetxt); only numpy arrays are admitted"
    ):
        sources.read(path)
    assert not trace.exists()
    pickle.loads(Path(path).read_bytes())
    assert trace.exists(), "the payload is a real one: pickle itself runs it"


@pytest.mark.parametrize(
    "content",
    [np.array([{}], dtype=object), np.array(["a"]), np.zeros(2, dtype=[("a", "f4")]), np.array(["2020"], "M8[Y]")],
    ids=["objects", "text", "records", "dates"],
)
def test_arrays_of_other_things_than_numbers_are_refused(tmp_path: Path, content: np.ndarray) -> None:
    with pytest.raises(DatasetError, match=r"it holds arrays of .*, not of numbers"):
        sources.read(written(tmp_path, [{"observations": content}]))


@pytest.mark.parametrize(
    "state",
    [(3, "<", None, None, None, 8, 8, 63), (3, "<", None, ("a",), {"a": 1}, -1, -1, 0), (3, "O", None, None, None)],
)
def test_a_dtype_with_a_forged_state_is_refused(tmp_path: Path, state: tuple[object, ...]) -> None:
    class Forged:
        def __reduce__(self) -> tuple[object, ...]:
            return np.dtype, ("f8", False, True), state

    with pytest.raises(DatasetError, match="it holds arrays of records"):
        sources.read(written(tmp_path, [Forged()]))


def test_what_a_name_stands_for_cannot_be_changed(tmp_path: Path) -> None:
    # GLOBAL _codecs.encode, then BUILD it with a state: pickle would set the function's attributes.
    program = b"c_codecs\nencode\n(N}S'__defaults__'\n(I1\ntstb."
    assert "BUILD" in {opcode.name for opcode, _, _ in pickletools.genops(program)}
    path = tmp_path / "forged.pkl"
    path.write_bytes(program)
    with pytest.raises(DatasetError, match="it changes what it was given"):
        sources.read(str(path))


def test_lists_inside_lists_many_times_over_are_finished_once(tmp_path: Path) -> None:
    content: list[object] = []
    for _ in range(60):
        content = [content, content]
    with pytest.raises(DatasetError, match="holds no list of trajectories"):
        sources.read(written(tmp_path, content))


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x04\x95"])
def test_what_is_no_pickle_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.pkl cannot be read as a pickle of arrays"):
        sources.read(str(path))


def test_a_pickle_cut_short_is_refused_at_every_length(tmp_path: Path) -> None:
    whole = pickle.dumps([episode(2, terminated=True)])
    path = tmp_path / "cut.pkl"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DatasetError, match=r"cut\.pkl"):
            sources.read(str(path))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rewards": [1.0, 2.0]}, "trajectory 1: rewards is a list, not an array"),
        ({"rewards": np.zeros(3)}, "trajectory 1: the arrays have different numbers of steps"),
        ({"actions": np.zeros((4, 5))}, r"actions have shape \[2\] in trajectory 0 and \[5\] in 1"),
        ({"terminals": np.array([0, 1, 0, 0])}, "trajectory 1 ends at step 1, and has steps after it"),
        ({"rewards": np.full(4, np.nan)}, "trajectory 1: rewards is not finite"),
    ],
)
def test_a_trajectory_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    content = [episode(4, terminated=True), episode(4, terminated=True) | change]
    with pytest.raises(DatasetError, match=sentence):
        sources.read(written(tmp_path, content))


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    content = episode(4, terminated=True)
    del content["terminals"]
    with pytest.raises(DatasetError, match="trajectory 0 has no array 'terminals'; it has observations, next_obs"):
        sources.read(written(tmp_path, [content]))


def test_timeouts_end_an_episode_without_terminating_it(tmp_path: Path) -> None:
    content = episode(4, terminated=False) | {"timeouts": np.array([0, 0, 0, 1], bool)}
    assert sources.read(written(tmp_path, [content]))[0].terminated is False
