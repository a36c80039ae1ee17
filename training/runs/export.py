"""Export: merges LoRA and writes the checkpoint directory, after comparing actions before and after."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamo import checkpoint
from lamo.batch import Batch
from lamo.checkpoint import Checkpoint
from lamo.errors import CheckpointError
from lamo.evaluation import Score, ScoreSummary, summarize
from lamo.network import Network
from training.learning.adaptation import trainable_groups
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.learning.language_model import silence_loading
from training.learning.lora import merge
from training.runs.card import card
from training.runs.run_folder import RunFolder
from training.version import code_version
from training.watching.action_error import ActionError
from training.watching.evaluations import read_scores

LARGEST_DIFFERENCE = 1e-4
"""Of one number of an action, before and after merging; float32 arithmetic leaves about 1e-6."""

COMPARED_WINDOWS = 64


def export(
    experiment: Experiment, folder: RunFolder, out: Path | None = None, update: int | None = None
) -> Checkpoint:
    """Write the experiment's network, as it stands, as a checkpoint.

    Args:
        out: the checkpoint directory; the run's own `checkpoint/` if left out.
        update: how many updates were made; all of them if left out.

    Raises:
        CheckpointError: merging changed the actions by more than `LARGEST_DIFFERENCE`.
    """
    update = experiment.config.updates if update is None else update
    merged = merge(experiment.model)
    difference = largest_difference(experiment.model, merged, real_windows(experiment))
    if not difference <= LARGEST_DIFFERENCE:
        raise CheckpointError(
            f"merging LoRA changed an action by {difference:.3g}, more than {LARGEST_DIFFERENCE:g}; "
            "nothing was written"
        )
    summaries = summarize(scores_at(folder, update))
    record = training_record(experiment, update, difference, summaries)
    return checkpoint.write(
        folder.checkpoint if out is None else out,
        experiment.policy_config,
        merged.state_dict(),
        experiment.normalization,
        training=record,
        card=card(experiment.policy_config, record, summaries),
    )


def real_windows(experiment: Experiment) -> Batch:
    """Subtrajectories evenly spread over the training data."""
    steps = int(experiment.data.trained.lengths.sum())
    starts = np.linspace(0, steps - 1, COMPARED_WINDOWS).astype(np.int64)
    return experiment.batch(experiment.sampler.cut(starts))


@torch.inference_mode()
def largest_difference(model: Network, merged: Network, batch: Batch) -> float:
    """Largest absolute difference of a number in the proposed actions, over all real timesteps."""
    training = model.training
    before = model.eval()(batch)
    model.train(training)
    after = merged.to(before.device)(batch)
    return float((before - after)[batch.attention_mask].abs().max())


def training_record(
    experiment: Experiment, update: int, difference: float, summaries: list[ScoreSummary]
) -> dict[str, Any]:
    """What `training.json` says: how the policy came to be."""
    groups = trainable_groups(experiment.model)
    counts = {name: sum(item.numel() for item in group.values()) for name, group in groups.items()}
    text = None if experiment.text is None else dataclasses.asdict(experiment.text.identity)
    trajectories = experiment.data.trained
    return {
        "code_version": code_version(),
        "torch_version": torch.__version__,
        "updates": update,
        "config": _without_folders(experiment.config),
        "data": {
            "name": trajectories.name,
            "sha256": trajectories.sha256,
            "sample_ratio": experiment.data.sample_ratio,
            "attributes": dict(trajectories.attributes),
            "trajectories": experiment.data.indices.tolist(),
            "held_out": experiment.data.held_out_indices.tolist(),
            "steps": int(trajectories.lengths.sum()),
            "mean_return": float(trajectories.episode_returns.mean()),
        },
        "trunk_sha256": experiment.trunk_sha256,
        "text": text,
        "parameters": {
            "trainable": counts,
            "total": sum(item.numel() for item in experiment.model.parameters()),
        },
        "merge_difference": difference,
        "action_error": ActionError.of(experiment).to_json(),
        "scores": [dataclasses.asdict(summary) for summary in summaries],
    }


def _without_folders(config: TrainConfig) -> dict[str, Any]:
    """The config with files called by their names: folders are this machine's own business."""
    dataset = Path(config.dataset).name if Path(config.dataset).exists() else config.dataset
    here: dict[str, Any] = {"dataset": dataset, "text": [path.name for path in config.text]}
    here["task"] = {**config.task.to_json(), "dataset": dataset}
    if config.indices is not None:
        here["indices"] = config.indices.name
    if Path(config.lm).expanduser().is_dir():
        here["lm"] = Path(config.lm).name
    return {**config.to_json(), **here}


def scores_at(folder: RunFolder, update: int) -> list[Score]:
    """The episodes that were evaluated at an update; none where none were."""
    return [score for score in read_scores(folder.scores) if score.update == update]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `export` on its parser."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoint directory to write")
    parser.add_argument("--update", type=int, help="of which snapshot (default: the newest)")
    parser.add_argument(
        "--revisions",
        action="store_true",
        help="write DIR/<revision>/ and let DIR/current name it: services change over while they serve, and "
        "earlier revisions stay for the episodes that they began with",
    )


def run(arguments: argparse.Namespace) -> None:
    """Carry out the parsed command; an InputError it raises is one sentence for whoever typed it."""
    silence_loading()
    folder = RunFolder(arguments.run)
    experiment = Experiment.prepare(folder.config())
    folder.check(experiment)
    snapshot = folder.snapshot(arguments.update)
    snapshot.restore_weights(experiment)
    out = arguments.out / ".written" if arguments.revisions else arguments.out
    written = export(experiment, folder, out, snapshot.update)
    if arguments.revisions:
        out = checkpoint.publish(out, arguments.out)
    sys.stdout.write(f"{out}: revision {written.revision}, update {snapshot.update}\n")
