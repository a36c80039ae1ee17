"""Exported checkpoints: the policy that was trained, and how it came to be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from lamo import checkpoint
from lamo.checkpoint import Checkpoint
from lamo.errors import CheckpointError
from lamo.model import LamoModel
from training import cli
from training.learning.experiment import Experiment
from training.learning.lora import merge
from training.runs import export as module
from training.runs.export import export, largest_difference, real_windows
from training.runs.run_folder import RunFolder


@pytest.fixture(scope="module")
def trained(finished_run: RunFolder) -> Experiment:
    experiment = Experiment.prepare(finished_run.config())
    finished_run.snapshot().restore_weights(experiment)
    return experiment


def test_a_finished_run_has_exported_the_policy_it_trained(finished_run: RunFolder, trained: Experiment) -> None:
    checkpoint = Checkpoint.read(finished_run.checkpoint)
    served = LamoModel(checkpoint.config)
    served.load_state_dict(checkpoint.tensors)
    batch = real_windows(trained)
    with torch.inference_mode():
        expected, actions = trained.model.eval()(batch), served.eval()(batch)
    torch.testing.assert_close(actions, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(checkpoint.normalization.mean, trained.normalization.mean)
    assert checkpoint.config.hop == 2
    assert checkpoint.config.target_returns == (76.0, 40.0)
    assert checkpoint.config.environment == "training.reacher2d:Reacher2d-v0"
    assert checkpoint.config.action.low == (-1.0, -1.0)


def test_training_json_says_how_the_policy_came_to_be(
    finished_run: RunFolder, trained: Experiment, tiny_data: Path
) -> None:
    record = json.loads((finished_run.checkpoint / "training.json").read_text())
    assert record["updates"] == 10
    assert record["data"]["sha256"] == hashlib.sha256(tiny_data.read_bytes()).hexdigest()
    assert record["data"]["trajectories"] == trained.data.indices.tolist()
    assert len(record["data"]["trajectories"]) == 3
    assert record["config"]["seed"] == 0
    assert record["config"]["dataset"] == "noise.hdf5"
    assert sum(record["parameters"]["trainable"].values()) == sum(
        parameter.numel() for parameter in trained.learner.parameters.values()
    )
    assert record["merge_difference"] < 1e-5
    assert [(item["hop"], item["target_return"], item["episodes"]) for item in record["scores"]] == [
        (hop, target, 2) for hop in (2, 1) for target in (76.0, 40.0)
    ]


def test_the_card_gives_the_scores_and_names_no_folder_of_this_machine(
    finished_run: RunFolder, tiny_data: Path
) -> None:
    card = (finished_run.checkpoint / "README.md").read_text()
    assert "| 2 | 76 | 2 |" in card
    assert "mean over targets" in card
    assert str(tiny_data.parent) not in card


def test_a_merge_that_changes_actions_is_refused_and_nothing_is_written(
    trained: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(model: LamoModel) -> LamoModel:
        merged = merge(model)
        merged.trunk.ln_f.bias += 0.1
        return merged

    monkeypatch.setattr(module, "merge", spoiled)
    with pytest.raises(CheckpointError, match=r"merging LoRA changed an action by 0\.\d+, more than 0.0001"):
        export(trained, RunFolder(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_difference_is_the_largest_over_real_timesteps(trained: Experiment) -> None:
    other = merge(trained.model)
    batch = real_windows(trained)
    assert not batch.attention_mask.all()
    assert largest_difference(trained.model, other, batch) < 1e-5
    other.get_submodule("predict_action.fc2").bias += torch.tensor([0.25, -0.5])  # type: ignore[operator]
    assert largest_difference(trained.model, other, batch) == pytest.approx(0.5, rel=1e-3)


def test_the_command_exports_a_snapshot_of_ones_choice(
    finished_run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["export", str(finished_run.path), "--out", str(tmp_path / "reacher2d")])
    assert ending.value.code == 0
    revision = Checkpoint.read(tmp_path / "reacher2d").revision
    assert revision == Checkpoint.read(finished_run.checkpoint).revision
    assert f"revision {revision}, update 10" in capsys.readouterr().out


def test_the_command_exports_a_revision_beside_others(finished_run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["export", str(finished_run.path), "--out", str(tmp_path / "reacher2d"), "--revisions"])
    assert ending.value.code == 0
    revision = Checkpoint.read(finished_run.checkpoint).revision
    assert checkpoint.find(tmp_path) == {"reacher2d": tmp_path / "reacher2d" / revision}


def test_the_command_refuses_a_snapshot_that_is_not_there(
    finished_run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["export", str(finished_run.path), "--update", "7", "--out", str(tmp_path / "x")])
    assert ending.value.code == 2
    assert "no snapshot of update 7; snapshots there: 10" in capsys.readouterr().err
