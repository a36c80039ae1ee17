"""Data files made to harm: nothing beside them is opened, nothing they only claim is allocated."""

from __future__ import annotations

import pickle
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from lamo.errors import DatasetError
from training.data import inflation, sources

STEPS = 6


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """What would be allocated for a claim fails here instead of taking the machine down."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("asks /proc for this process's memory")
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def arrays(steps: int = STEPS) -> dict[str, np.ndarray]:
    ends = np.zeros(steps, bool)
    ends[-1] = True
    return {
        "observations": np.ones((steps, 3), np.float32),
        "actions": np.zeros((steps, 2), np.float32),
        "rewards": np.ones(steps, np.float32),
        "terminals": ends,
        "timeouts": ~ends & ends,
    }


def secret(folder: Path) -> Path:
    """Another file of this user's, of the right shape."""
    path = folder / "secret.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.full((STEPS, 3), 7, np.float32)
    (folder / "secret.bin").write_bytes(np.full((STEPS, 3), 7, np.float32).tobytes())
    return path


def link(file: h5py.File, folder: Path) -> None:
    file["observations"] = h5py.ExternalLink(str(secret(folder)), "/observations")


def soft_link_to_a_link(file: h5py.File, folder: Path) -> None:
    file["group/there"] = h5py.ExternalLink(str(secret(folder)), "/observations")
    file["observations"] = h5py.SoftLink("/group/there")


def raw_storage(file: h5py.File, folder: Path) -> None:
    secret(folder)
    place = [(str(folder / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("observations", (STEPS, 3), "f4", external=place)


def virtual_storage(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((STEPS, 3), "f4")
    layout[:] = h5py.VirtualSource(str(secret(folder)), "observations", (STEPS, 3))
    file.create_virtual_dataset("observations", layout)


def hostile_hdf5(folder: Path, make: Callable[[h5py.File, Path], None], **others: np.ndarray) -> Path:
    path = folder / "recording.hdf5"
    with h5py.File(path, "w") as file:
        make(file, folder)
        for key, array in (arrays() | others).items():
            if key not in file:
                file[key] = array
    return path


@pytest.mark.parametrize("make", [link, soft_link_to_a_link, raw_storage, virtual_storage])
def test_an_hdf5_file_leads_to_no_other_file(tmp_path: Path, make: Callable[[h5py.File, Path], None]) -> None:
    path = hostile_hdf5(tmp_path, make)
    with h5py.File(path) as file:
        assert (file["observations"][()] == 7).all(), "the trap is a real one: h5py follows it"
    with pytest.raises(DatasetError, match=r"is a link to another file|is kept in another file"):
        sources.read(path)


def test_a_link_inside_an_hdf5_file_is_followed(tmp_path: Path) -> None:
    def inside(file: h5py.File, folder: Path) -> None:
        file["kept/observations"] = arrays()["observations"]
        file["observations"] = h5py.SoftLink("/kept/observations")

    assert sources.read(hostile_hdf5(tmp_path, inside)).lengths.tolist() == [STEPS]


def test_an_hdf5_link_to_itself_ends(tmp_path: Path) -> None:
    def circle(file: h5py.File, folder: Path) -> None:
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")
        file["group/again"] = file["/"]

    with pytest.raises(DatasetError):
        sources.read(hostile_hdf5(tmp_path, circle))


@pytest.mark.parametrize("shape", [(2**40, 3), (2**60, 2**60), (2**20, 2**20)])
def test_an_hdf5_array_that_is_only_claimed_is_not_allocated(tmp_path: Path, shape: tuple[int, int]) -> None:
    def claim(file: h5py.File, folder: Path) -> None:
        file.create_dataset("observations", (1, 1), "f4", maxshape=(None, None), chunks=(1, 1)).resize(shape)

    path = hostile_hdf5(tmp_path, claim)
    assert path.stat().st_size < 100_000
    with pytest.raises(DatasetError, match=r"says it holds|cannot be read as HDF5"):
        sources.read(path)


def test_a_compressed_hdf5_bomb_is_not_unpacked(tmp_path: Path) -> None:
    def bomb(file: h5py.File, folder: Path) -> None:
        array = file.create_dataset("observations", (2**20, 512), "f4", chunks=(2**15, 512), compression="gzip")
        array[: 2**15] = 0

    with pytest.raises(DatasetError, match=r"says it holds 2147\d+ bytes of arrays, more than 100 times its size"):
        sources.read(hostile_hdf5(tmp_path, bomb))


def test_hdf5_text_in_place_of_numbers_is_not_read(tmp_path: Path) -> None:
    def text(file: h5py.File, folder: Path) -> None:
        file.create_dataset("observations", (2**40,), h5py.string_dtype(), chunks=(1,))

    with pytest.raises(DatasetError, match="observations is of type object, not numbers"):
        sources.read(hostile_hdf5(tmp_path, text))


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflation, "HARMLESS_BYTES", 2**20)
    path = tmp_path / "recording.npz"
    np.savez_compressed(path, **arrays() | {"observations": np.zeros((2**20, 3), np.float32)})
    with pytest.raises(DatasetError, match=r"says it holds 12\d+ bytes of arrays, more than 100 times its size"):
        sources.read(path)


def test_a_pickle_that_names_one_array_many_times_is_not_copied_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inflation, "HARMLESS_BYTES", 2**20)
    path = tmp_path / "a.pkl"
    episode = arrays(200)
    path.write_bytes(pickle.dumps([dict(episode) for _ in range(2000)]))
    with pytest.raises(DatasetError, match="more than 100 times its size"):
        sources.read(path)


PICKLES = {
    "an object numbered four billion": b"]r\xff\xff\xff\xff.",
    "an object numbered in words": b"(lp99999999999999999999\n.",
    "bytes of 8 exabytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a bytearray of 8 exabytes": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "text of 4 gigabytes": b"X\xff\xff\xff\xff.",
    "a frame of 8 exabytes": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "a number of 2 gigabytes": b"\x8b\xff\xff\xff\x7f.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a list in a list in a list": b"]" * 200_000 + b"a" * 199_999 + b".",
    "an object of an extension": b"\x82\x01.",
    "a persistent id": b"P1\n.",
    "a buffer from elsewhere": b"\x80\x05\x97.",
    "a list that changes its maker": b"cnumpy\ndtype\n}X\x05\x00\x00\x00_makeX\x00\x00\x00\x00sb.",
    "a class made anew": b"cnumpy\ndtype\n)\x81.",
    "a type of a name's attribute": b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__subclasses__\x93)R.",
    "a type of two gigabytes": b"cnumpy\ndtype\n(X\x0f\x00\x00\x00(2147483647,)f8tR.",
    "nothing": b".",
    "an empty file": b"",
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_that_only_claims_or_reaches_out_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(PICKLES[name])
    with pytest.raises(DatasetError):
        sources.read(path)
