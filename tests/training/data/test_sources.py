"""Data by name: which reader a name chooses, and lists of trajectory indices."""

import json
from pathlib import Path

import pytest

from lamo.errors import ConfigError, DatasetError
from training.data import sources


@pytest.mark.parametrize("name", ["hopper", "data.txt", "hf:hopper", "", "folder/"])
def test_a_name_of_no_kind_is_refused_with_the_kinds(name: str) -> None:
    with pytest.raises(
        DatasetError, match=r"no kind of data that is read here: d4rl:ID, minari:ID, or a file .*\.csv"
    ):
        sources.read(name)


@pytest.mark.parametrize("suffix", [".hdf5", ".h5", ".npz", ".pkl", ".pickle", ".csv", ".parquet"])
def test_a_missing_file_of_any_kind_is_said(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DatasetError, match=f"there is no data file .*x{suffix}"):
        sources.read(tmp_path / f"x{suffix}")


@pytest.mark.parametrize(
    "content",
    [[4, 0, 2], {"episodes": [4, 0, 2], "seed": 1}, {"trajectories": [4, 0, 2]}],
    ids=["list", "episodes", "trajectories"],
)
def test_indices_are_read_in_their_order(tmp_path: Path, content: object) -> None:
    path = tmp_path / "indices.json"
    path.write_text(json.dumps(content))
    assert sources.read_indices(path).tolist() == [4, 0, 2]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "holds no list of trajectory indices"),
        ("[0, -1]", "holds no list"),
        ("[0.0]", "holds no list"),
        ("[true]", "holds no list"),
        ('{"seed": 3}', "holds no list"),
        ("3", "holds no list"),
        ("[1, 1]", "names a trajectory more than once"),
        ("[1,", "cannot be read from"),
    ],
)
def test_what_is_no_list_of_indices_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "indices.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        sources.read_indices(path)


def test_missing_indices_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read from"):
        sources.read_indices(tmp_path / "indices.json")
