"""Watching a run: what is measured, that it is written, and that it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.learning.meter import Reading
from training.runs.run_folder import RunFolder
from training.runs.train import train
from training.watching.evaluations import Evaluation
from training.watching.watch import Watch, read_watches
from training.watching.watcher import Watcher, evaluating, held_out_windows, mean_action_loss

ConfigMaker = Callable[..., TrainConfig]

READING = Reading(updates_per_second=None, peak_memory_bytes=1)


def _run(path: Path, config: TrainConfig, *, resume: bool = False) -> RunFolder:
    folder = RunFolder(path)
    train(config, folder, resume=resume)
    return folder


def _learned(watches: list[Watch]) -> list[tuple[object, ...]]:
    """What does not depend on the clock."""
    return [
        (item.update, item.training_action_loss, item.held_out_action_loss, item.language_loss, item.update_norm)
        for item in watches
    ]


def test_how_often_a_run_is_watched_changes_nothing_it_learns(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    seldom = _run(tmp_path / "seldom", tiny_config(eval_every=0))
    often = _run(tmp_path / "often", tiny_config(eval_every=1))
    assert seldom.metrics.read_text() == often.metrics.read_text()
    weights, others = seldom.snapshot().tensors, often.snapshot().tensors  # torch's generator is one of them
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert [item.update for item in read_watches(seldom.watch)] == [0, 10]
    assert [item.update for item in read_watches(often.watch)] == list(range(11))


def test_a_look_leaves_the_network_training_and_every_generator_where_it_was(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config())
    watcher = Watcher(experiment)
    experiment.model.train()
    before = (torch.get_rng_state(), experiment.sampler.generator_state)
    first = watcher.look(0, READING, [])
    assert experiment.model.training
    assert torch.equal(torch.get_rng_state(), before[0])
    assert experiment.sampler.generator_state == before[1]
    assert watcher.look(0, READING, []) == first


def test_a_resumed_run_is_watched_as_the_uninterrupted_one(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    straight = _run(tmp_path / "straight", tiny_config(updates=8, eval_every=2))
    killed = _run(tmp_path / "killed", tiny_config(updates=4, eval_every=2))
    rows = killed.watch.read_text()
    killed.watch.write_text(rows + rows.splitlines()[-1].replace("4,", "6,", 1) + "\n8,0.")
    _run(killed.path, tiny_config(updates=8, eval_every=2), resume=True)
    assert _learned(read_watches(killed.watch)) == _learned(read_watches(straight.watch))


def test_whole_trunks_are_measured_from_their_start_after_a_resume_too(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    straight = _run(tmp_path / "straight", tiny_config(updates=4, adaptation="full", eval_every=2))
    resumed = _run(tmp_path / "resumed", tiny_config(updates=2, adaptation="full", eval_every=2))
    _run(resumed.path, tiny_config(updates=4, adaptation="full", eval_every=2), resume=True)
    norms = [item.update_norm for item in read_watches(resumed.watch)]
    assert norms == [item.update_norm for item in read_watches(straight.watch)]
    assert norms[0] == 0.0
    assert norms[2] > norms[1] > 0.0  # type: ignore[operator]


def test_the_held_out_loss_is_that_of_every_held_out_timestep_without_dropout(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(hold_out=0.4))
    assert experiment.data.held_out is not None
    look = Watcher(experiment).look(0, READING, [])
    squared, counted = 0.0, 0
    with evaluating(experiment.model), torch.no_grad():
        for batch in held_out_windows(experiment):
            proposed = experiment.model(batch)
            for row, length in enumerate(batch.lengths.tolist()):
                errors = proposed[row, :length] - batch.actions[row, :length]
                squared, counted = squared + float(errors.square().sum()), counted + errors.numel()
    assert look.held_out_action_loss == pytest.approx(squared / counted, rel=1e-5)
    recorded = {row.tobytes() for trajectory in experiment.data.held_out for row in trajectory.actions}
    seen = torch.cat([batch.actions[batch.attention_mask] for batch in held_out_windows(experiment)]).numpy()
    assert {row.tobytes() for row in seen} == recorded


def test_windows_of_unequal_lengths_count_by_their_timesteps(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config())
    sampler, starts = experiment.sampler, np.array([0, 8, 9, 20])
    together = [experiment.batch(sampler.cut(starts))]
    apart = [experiment.batch(sampler.cut(starts[:3])), experiment.batch(sampler.cut(starts[3:]))]
    with evaluating(experiment.model):
        parts = mean_action_loss(experiment.model, apart)
        assert parts == pytest.approx(mean_action_loss(experiment.model, together), rel=1e-5)


def test_the_best_score_so_far_is_what_a_run_drops_from(tiny_config: ConfigMaker) -> None:
    watcher = Watcher(Experiment.prepare(tiny_config()))
    scores = [Evaluation(5, 40.0, 1.0), Evaluation(10, 55.0, 1.0), Evaluation(15, 30.0, 1.0)]
    assert watcher.look(15, READING, scores).score_drop == 25.0
    assert watcher.look(10, READING, scores[:2]).score_drop == 0.0
    assert watcher.look(20, READING, scores).score is None


def test_evaluations_stand_in_the_row_of_their_update(finished_run: RunFolder) -> None:
    first, last = read_watches(finished_run.watch)
    assert (first.update, last.update) == (0, 10)
    assert first.score is None
    assert last.score is not None
    assert last.score_drop == 0.0
    assert last.updates_per_second is not None
    assert last.updates_per_second > 0
    assert last.peak_memory_bytes > 1e6
    assert last.trained_parameters == sum(
        item.numel() for item in Experiment.prepare(finished_run.config()).learner.parameters.values()
    )


def test_a_run_without_held_out_trajectories_trunk_or_language_leaves_their_cells_empty(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    config = tiny_config(algorithm="bc", preset="paper", language_loss_weight=0.0, updates=2)
    for look in read_watches(_run(tmp_path / "run", config).watch):
        assert look.held_out_action_loss is None
        assert look.language_loss is None
        assert look.update_norm is None
        assert look.training_action_loss > 0


def test_what_is_watched_is_drawn_in_tensorboard(finished_run: RunFolder) -> None:
    events = EventAccumulator(str(finished_run.path))
    events.Reload()
    (look,) = (item for item in read_watches(finished_run.watch) if item.update == 10)
    drawn = {event.step: event.value for event in events.Scalars("watch/held_out_action_loss")}
    assert drawn[10] == pytest.approx(look.held_out_action_loss)
    assert set(drawn) == {0, 10}
