"""Checkpoints made to harm: nothing outside is read, nothing that is only claimed is built or allocated."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lamo import checkpoint
from lamo.checkpoint import Checkpoint
from lamo.document import MAX_BYTES
from lamo.errors import CheckpointError

Edit = Callable[[Path], None]


@pytest.fixture
def directory(checkpoint_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_directory, tmp_path / "policies" / "small"))


def config(section: str | None = None, **changes: object) -> Edit:
    def edit(directory: Path) -> None:
        document = json.loads((directory / "config.json").read_text())
        (document if section is None else document[section]).update(changes)
        (directory / "config.json").write_text(json.dumps(document))

    return edit


def text(name: str, content: str) -> Edit:
    return lambda directory: (directory / name).write_text(content) and None


def tensors(change: Callable[[torch.Tensor], torch.Tensor]) -> Edit:
    def edit(directory: Path) -> None:
        path = directory / "model.safetensors"
        held = load_file(path)
        first = sorted(held)[0]
        save_file(held | {first: change(held[first])}, path)

    return edit


def header(told: object) -> Edit:
    """A safetensors file of a header alone."""
    written = told if isinstance(told, bytes) else json.dumps(told).encode()
    return lambda directory: (
        (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(written)) + written) and None
    )


HOSTILE: dict[str, tuple[Edit, str]] = {
    "a billion layers": (config("trunk", n_layer=10**9), "n_layer is 1e+09, at most 1024 is taken"),
    "a width of a googol": (config("trunk", n_embd=10**100, n_head=1), "n_embd is 1e+100, at most"),
    "a huge table": (config(timestep_table_size=2**40), "timestep_table_size is 1.1e+12, at most"),
    "a huge window": (config(context_length=10**7), "context_length is 1e+07, at most 65536 is taken"),
    "a huge observation": (config("observation", shape=[2**40]), "field observation.shape is"),
    "a deep network": (config(trunk=None, mlp={"hidden": [1] * 5000}), "mlp.hidden has 5000 layers"),
    "a wide network": (config(trunk=None, mlp={"hidden": [2**60]}), "mlp.hidden is"),
    "an infinite scale": (text("config.json", '{"return_scale": Infinity}'), "it holds Infinity"),
    "no number": (text("normalization.json", '{"mean": [NaN]}'), "it holds NaN"),
    "a name said twice": (text("config.json", '{"hop": 1, "hop": 2}'), "it says 'hop' twice"),
    "deep JSON": (text("config.json", "[" * 10**6), "is not JSON"),
    "endless digits": (text("config.json", "9" * 10**5), "is not JSON"),
    "much JSON": (text("config.json", " " * (MAX_BYTES + 1)), f"at most {MAX_BYTES} are read"),
    "whole numbers": (tensors(lambda tensor: tensor.to(torch.int64)), "is of type I64, weights are F32"),
    "halves": (tensors(lambda tensor: tensor.half()), "is of type F16, weights are F32"),
    "an empty header": (header({}), "lacks"),
    "a header of gigabytes": (
        lambda directory: (directory / "model.safetensors").write_bytes(struct.pack("<Q", 2**40)) and None,
        "is truncated or no safetensors file",
    ),
    "a tensor of terabytes": (
        header({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        "is truncated or no safetensors file",
    ),
    "tensors that overlap": (
        header({name: {"dtype": "F32", "shape": [0], "data_offsets": [8, 4]} for name in "ab"}),
        "is truncated or no safetensors file",
    ),
    "a pickle": (header(b"\x80\x04N."), "is truncated or no safetensors file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_checkpoint_that_claims_or_hides_something_is_refused(directory: Path, name: str) -> None:
    edit, sentence = HOSTILE[name]
    edit(directory)
    with pytest.raises(CheckpointError) as refused:
        Checkpoint.read(directory)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "pointer", ["..", ".", "../../etc", "/etc", "a/b", "small\0", "\n", "", "x" * 10_000, ".hidden", "a\nb"]
)
def test_current_names_nothing_outside(directory: Path, pointer: str) -> None:
    (directory / "current").write_text(pointer)
    with pytest.raises(CheckpointError, match="which is no directory beside it"):
        checkpoint.find(directory.parent)


@pytest.mark.parametrize("name", ["a@b", "a b", "line\nbreak", "tab\t", "x" * 201])
def test_a_folder_that_cannot_be_a_name_is_refused(directory: Path, name: str) -> None:
    (directory.parent / name).mkdir()
    with pytest.raises(CheckpointError, match="which cannot be a policy's name"):
        checkpoint.find(directory.parent)


def test_a_link_that_the_folders_owner_made_is_followed(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "linked").symlink_to(directory)
    found = checkpoint.find(tmp_path / "served")
    assert Checkpoint.read(found["linked"]).revision == checkpoint.revision(directory)


def test_what_is_no_file_is_not_read(directory: Path) -> None:
    (directory / "config.json").unlink()
    (directory / "config.json").symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        Checkpoint.read(directory)
