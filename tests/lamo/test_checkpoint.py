"""A checkpoint is written whole, verified when read, and refused with a sentence when anything is off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lamo import checkpoint
from lamo.checkpoint import Checkpoint
from lamo.config import PolicyConfig
from lamo.errors import CheckpointError
from lamo.model import LamoModel
from lamo.normalization import Normalization


@pytest.fixture
def directory(checkpoint_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_directory, tmp_path / "policies" / "small"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_was_written_is_read(
    directory: Path, config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    read = Checkpoint.read(directory)
    assert read.config == config
    assert read.normalization.mean.tobytes() == normalization.mean.tobytes()
    assert read.normalization.std.tobytes() == normalization.std.tobytes()
    assert read.tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(read.tensors[name], tensor) for name, tensor in model.state_dict().items())


def test_the_revision_names_the_policy_and_not_its_card(directory: Path) -> None:
    before = checkpoint.revision(directory)
    assert len(before) == 12
    assert set(before) <= set("0123456789abcdef")
    (directory / "README.md").write_text("a typo mended")
    edit(directory / "training.json", note="more")
    assert checkpoint.revision(directory) == before
    edit(directory / "config.json", hop=2)
    assert checkpoint.revision(directory) != before


def test_a_checkpoint_replaces_the_one_before_whole(
    directory: Path, config: PolicyConfig, normalization: Normalization
) -> None:
    (directory / "stale").touch()
    other = LamoModel(config).state_dict()
    written = checkpoint.write(directory, config, other, normalization, training={}, card="# again")
    assert checkpoint.revision(directory) == written.revision
    assert not (directory / "stale").exists()
    assert [path.name for path in directory.parent.iterdir()] == ["small"]


def test_a_failed_write_leaves_the_one_before(
    directory: Path, config: PolicyConfig, normalization: Normalization
) -> None:
    before = checkpoint.revision(directory)
    broken = {name: torch.full_like(tensor, torch.nan) for name, tensor in LamoModel(config).state_dict().items()}
    with pytest.raises(CheckpointError, match="not finite"):
        checkpoint.write(directory, config, broken, normalization, training={}, card="")
    assert checkpoint.revision(directory) == before
    assert [path.name for path in directory.parent.iterdir()] == ["small"]


def test_nothing_but_a_checkpoint_is_replaced(
    directory: Path, tmp_path: Path, config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    (tmp_path / "file").write_text("kept")
    for taken in (directory.parent, tmp_path / "file"):
        with pytest.raises(CheckpointError, match="is there and no checkpoint directory"):
            checkpoint.write(taken, config, model.state_dict(), normalization, training={}, card="")
    assert Checkpoint.read(directory).config == config
    assert (tmp_path / "file").read_text() == "kept"
    (tmp_path / "empty").mkdir()
    checkpoint.write(tmp_path / "empty", config, model.state_dict(), normalization, training={}, card="")
    assert Checkpoint.read(tmp_path / "empty").config == config


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "normalization.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        Checkpoint.read(directory)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_truncated_weights_are_refused_with_their_size(directory: Path, share: float) -> None:
    weights = directory / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=rf"{weights.stat().st_size} bytes\) is truncated"):
        Checkpoint.read(directory)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format_version": 2}, "format_version is 2, this version reads 1"),
        ({"surprise": 1}, "unknown field surprise"),
        ({"context_length": 0}, "context_length is 0"),
        ({"delayed_reward": "no"}, "delayed_reward is 'no', not true or false"),
        ({"hop": 7}, "hop 7 is outside 1..6"),
        ({"max_timesteps": 41}, "max_timesteps 41 exceeds the timestep table of 40"),
        ({"trunk": {"n_layer": 2}}, "trunk.n_head is missing"),
        ({"observation": {"shape": [5], "dtype": "float16"}}, "dtype float16"),
        ({"action": {"shape": [2], "low": [0, 0], "high": [3, 3], "dtype": "int64"}}, "dtype int64"),
        ({"target_returns": []}, "target_returns"),
        ({"trunk": None}, "trunk is None and mlp is None, exactly one of them"),
        ({"mlp": {"hidden": [8]}}, "exactly one of them must be given"),
        ({"trunk": None, "mlp": {"hidden": [0]}}, "mlp.hidden is (0,), not a list of whole numbers"),
        ({"trunk": [3]}, "field trunk is [3], not an object"),
        ({"reference_returns": {"random": 1, "expert": 1}}, "two different finite numbers"),
        ({"action": [2]}, "field action is [2], not an object"),
        ({"observation": {"shape": [None]}}, "field observation.shape is [None], not a list of whole numbers"),
        ({"hop": 1.5}, "hop is 1.5, not a whole number"),
        (
            {"trunk": {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_inner": 40, "layer_norm_epsilon": -1}},
            "layer_norm_epsilon -1 is not a positive number",
        ),
        (
            {"trunk": {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_inner": 40, "scale_attn_weights": "no"}},
            "scale_attn_weights is 'no', not true or false",
        ),
        ({"embedding": "cnn"}, "embedding 'cnn' is not one of mlp, linear"),
    ],
)
def test_a_config_that_cannot_be_is_refused(directory: Path, changes: dict[str, object], sentence: str) -> None:
    edit(directory / "config.json", **changes)
    with pytest.raises(CheckpointError, match=r"config\.json: ") as caught:
        Checkpoint.read(directory)
    assert sentence in str(caught.value)


def test_files_that_do_not_fit_each_other_are_refused(directory: Path) -> None:
    tensors = load_file(directory / "model.safetensors")
    save_file({**tensors, "embed_return.fc1.weight": torch.zeros(4, 4)}, directory / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=r"embed_return.fc1.weight has shape \[4, 4\], its config says \[16, 1\]"
    ):
        Checkpoint.read(directory)
    save_file({**tensors, "extra": torch.zeros(1)}, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match="no place for, first extra"):
        Checkpoint.read(directory)
    del tensors["trunk.ln_f.bias"]
    save_file(tensors, directory / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 tensors of its config, the first is trunk\.ln_f\.bias"):
        Checkpoint.read(directory)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"std": [1, 1, 0, 1, 1]}, "std is not positive"),
        ({"mean": [1, 2]}, "mean is not 5 finite numbers"),
        ({"mean": "x"}, "mean is missing or not a list"),
    ],
)
def test_statistics_that_cannot_be_are_refused(directory: Path, changes: dict[str, object], sentence: str) -> None:
    edit(directory / "normalization.json", **changes)
    with pytest.raises(CheckpointError, match=sentence):
        Checkpoint.read(directory)


def test_a_policies_folder_is_read_plain_and_by_revision(directory: Path, tmp_path: Path) -> None:
    policies = directory.parent
    versioned = policies / "versioned"
    shutil.copytree(directory, versioned / "aaaa")
    (versioned / "current").write_text("aaaa\n")
    (policies / ".hidden").mkdir()
    assert checkpoint.find(policies) == {"small": directory, "versioned": versioned / "aaaa"}
    for pointer in ("bbbb", "../small", ".", ""):
        (versioned / "current").write_text(pointer)
        with pytest.raises(CheckpointError, match="names"):
            checkpoint.find(policies)
    with pytest.raises(CheckpointError, match="there is no policies folder"):
        checkpoint.find(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.find(tmp_path / "empty")


def test_revisions_are_published_side_by_side_and_the_last_one_is_current(directory: Path, tmp_path: Path) -> None:
    policy = tmp_path / "published" / "small"
    revisions = []
    for constant in (1000.0, 500.0, 1000.0):
        made = tmp_path / "made"
        shutil.copytree(directory, made)
        edit(made / "config.json", return_scale=constant)
        revisions.append(checkpoint.revision(made))
        assert checkpoint.publish(made, policy) == policy / revisions[-1]
        assert not made.exists()
        assert checkpoint.find(policy.parent) == {"small": policy / revisions[-1]}
        assert Checkpoint.read(policy / revisions[-1]).revision == revisions[-1]
    assert sorted(path.name for path in policy.iterdir()) == sorted({*revisions, "current"})
    with pytest.raises(CheckpointError, match="is a checkpoint itself"):
        checkpoint.publish(policy / revisions[0], directory)


def test_a_description_is_read_without_the_weights(directory: Path) -> None:
    whole = Checkpoint.read(directory)
    (directory / "model.safetensors").unlink()
    config, normalization = checkpoint.read_description(directory)
    assert config == whole.config
    assert normalization.mean.tolist() == whole.normalization.mean.tolist()
