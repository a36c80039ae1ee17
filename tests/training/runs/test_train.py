"""Training runs: repeatable, resumable, interruptible, and undisturbed by being evaluated."""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lamo.errors import ConfigError
from training import cli
from training.interruption import Interrupted
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.runs.run_folder import RunFolder
from training.runs.train import evaluation_seed, train

ConfigMaker = Callable[..., TrainConfig]


def _run(path: Path, config: TrainConfig, *, resume: bool = False) -> RunFolder:
    folder = RunFolder(path)
    train(config, folder, resume=resume)
    return folder


def _weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return dict(folder.snapshot().tensors)


def _assert_identical(one: RunFolder, other: RunFolder) -> None:
    assert one.metrics.read_text() == other.metrics.read_text()
    weights, other_weights = _weights(one), _weights(other)
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def _signal_when(condition: Callable[[], bool], number: signal.Signals) -> threading.Thread:
    """Sends this process a signal as soon as the condition holds."""

    def watch() -> None:
        while not condition():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    straight = _run(tmp_path / "straight", tiny_config(updates=20))
    resumed = _run(tmp_path / "resumed", tiny_config(updates=10))
    torch.manual_seed(99)
    _run(tmp_path / "resumed", tiny_config(updates=20), resume=True)
    _assert_identical(straight, resumed)
    assert len(straight.metrics.read_text().splitlines()) == 21


def test_rows_of_updates_that_a_killed_run_never_saved_are_written_anew(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    straight = _run(tmp_path / "straight", tiny_config(updates=20))
    killed = _run(tmp_path / "killed", tiny_config(updates=10))
    with killed.metrics.open("a") as file:
        file.write("11,0.5,,0.5,0.01\n12,0.5,,0.5,0.01\n1")  # cut off in the middle of 13
    _run(tmp_path / "killed", tiny_config(updates=20), resume=True)
    _assert_identical(straight, killed)


def test_the_same_seed_gives_the_same_run_whatever_was_drawn_before(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    one = _run(tmp_path / "one", tiny_config(updates=5))
    torch.manual_seed(5)
    torch.rand(3)
    _assert_identical(one, _run(tmp_path / "other", tiny_config(updates=5)))


def test_another_seed_gives_another_run(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    one = _run(tmp_path / "one", tiny_config(updates=2))
    other = _run(tmp_path / "other", tiny_config(updates=2, seed=1))
    assert one.metrics.read_text() != other.metrics.read_text()


def test_training_leaves_the_global_generator_where_it_was(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    before = torch.get_rng_state()
    _run(tmp_path / "run", tiny_config(updates=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_how_often_a_run_is_evaluated_changes_nothing_it_learns(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    never = _run(tmp_path / "never", tiny_config(eval_episodes=0))
    often = _run(tmp_path / "often", tiny_config(eval_episodes=1, eval_every=5, target_returns=(9.0,)))
    _assert_identical(never, often)
    with often.scores.open() as file:
        assert [row["update"] for row in csv.DictReader(file)] == ["5", "10"]


def test_every_evaluation_plays_every_target_and_hop_in_episodes_of_its_own(finished_run: RunFolder) -> None:
    with finished_run.scores.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["hop"], row["target_return"]) for row in rows] == [
        (hop, target) for hop in ("2", "1") for target in ("76.0", "76.0", "40.0", "40.0")
    ]
    assert len({row["episode_seed"] for row in rows}) == 2
    assert {row["episode_length"] for row in rows} == {"100"}
    assert len({evaluation_seed(seed, update) for seed in range(3) for update in range(0, 50, 5)}) == 30


def test_without_language_loss_its_column_stays_empty(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    folder = _run(tmp_path / "run", tiny_config(updates=2, language_loss_weight=0.0))
    with folder.metrics.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["language_loss"] for row in rows] == ["", ""]
    assert all(float(row["action_loss"]) > 0 for row in rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_which_then_goes_on_as_if_there_had_been_none(
    tmp_path: Path, tiny_config: ConfigMaker, number: signal.Signals
) -> None:
    folder = RunFolder(tmp_path / "run")
    saved = tmp_path / "run" / "snapshots" / "00000003"
    watch = _signal_when(saved.exists, number)
    with pytest.raises(Interrupted):
        train(tiny_config(updates=100_000, save_every=3), folder)
    watch.join()
    stopped = folder.snapshot().update
    assert stopped >= 3
    assert not folder.checkpoint.exists()
    _run(tmp_path / "run", tiny_config(updates=stopped + 2, save_every=3), resume=True)
    _assert_identical(folder, _run(tmp_path / "straight", tiny_config(updates=stopped + 2, save_every=3)))


def test_a_signal_during_an_evaluation_ends_it_and_the_resumed_run_makes_up_for_it(
    tmp_path: Path, tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.runs import train as module

    config = tiny_config(updates=4, eval_every=2, eval_episodes=1, target_returns=(9.0,))
    evaluate = module.evaluate

    def evaluate_and_signal(*arguments: object, **options: object) -> object:
        signal.raise_signal(signal.SIGTERM)
        return evaluate(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "evaluate", evaluate_and_signal)
    with pytest.raises(Interrupted):
        _run(tmp_path / "run", config)
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run").snapshot().update == 2
    resumed = _run(tmp_path / "run", config, resume=True)
    straight = _run(tmp_path / "straight" / "run", config)
    assert resumed.scores.read_text() == straight.scores.read_text()
    _assert_identical(resumed, straight)


def test_the_command_line_says_how_to_go_on_and_exits_with_130(
    tmp_path: Path, tiny_config: ConfigMaker, capsys: pytest.CaptureFixture[str]
) -> None:
    config, path = tiny_config(), tmp_path / "run"
    words = [
        "train",
        "--task",
        config.task.name,
        "--dataset",
        str(config.dataset),
        "--lm",
        config.lm,
        "--out",
        str(path),
    ]
    watch = _signal_when((path / "snapshots" / "00000002").exists, signal.SIGINT)
    with pytest.raises(SystemExit) as ending:
        cli.main([*words, "--eval-every", "0", "--save-every", "2", "--batch-size", "4"])
    watch.join()
    assert ending.value.code == 130
    assert f"go on with: lamo-train train --resume {path}" in capsys.readouterr().err


def test_a_run_killed_before_its_first_snapshot_is_resumed_from_the_beginning(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    straight = _run(tmp_path / "straight", tiny_config(updates=3))
    killed = RunFolder(tmp_path / "killed")
    killed.begin(Experiment.prepare(tiny_config(updates=3)))
    _assert_identical(straight, _run(killed.path, killed.config(), resume=True))


def test_a_lengthened_run_remembers_its_length_and_is_not_shortened_below_what_was_made(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    folder = _run(tmp_path / "run", tiny_config(updates=2))
    _run(folder.path, tiny_config(updates=4), resume=True)
    assert folder.config() == tiny_config(updates=4)
    with pytest.raises(ConfigError, match="has made 4 updates, it cannot end after 2"):
        _run(folder.path, tiny_config(updates=2), resume=True)
    assert folder.config() == tiny_config(updates=4)


def test_the_folder_of_another_run_is_not_overwritten(finished_run: RunFolder, tiny_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="already holds a run: go on with it by --resume"):
        train(tiny_config(), finished_run)


def test_a_run_whose_data_has_changed_is_not_resumed(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    folder = _run(tmp_path / "run", tiny_config(updates=2))
    document = json.loads((folder.path / "data.json").read_text())
    (folder.path / "data.json").write_text(json.dumps({**document, "data_sha256": "0" * 64}))
    with pytest.raises(ConfigError, match="was begun with another data_sha256: 000"):
        train(tiny_config(updates=4), folder, resume=True)


def test_a_folder_without_a_run_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["train", "--resume", str(tmp_path)])
    assert ending.value.code == 2
    assert "holds no training run" in capsys.readouterr().err


def test_a_snapshot_cut_short_is_refused(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    folder = _run(tmp_path / "run", tiny_config(updates=2))
    tensors = tmp_path / "run" / "snapshots" / "00000002" / "tensors"
    tensors.write_bytes(tensors.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"snapshot .* cannot be read"):
        train(tiny_config(updates=4), folder, resume=True)


def test_a_snapshot_of_another_network_is_refused(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    folder = _run(tmp_path / "run", tiny_config(updates=2))
    with pytest.raises(ConfigError, match="of another network"):
        train(tiny_config(updates=4, lora_rank=7), folder, resume=True)


def test_only_the_newest_snapshots_are_kept(tmp_path: Path, tiny_config: ConfigMaker) -> None:
    folder = _run(tmp_path / "run", tiny_config(updates=7, save_every=2, keep=2))
    assert sorted(path.name for path in (folder.path / "snapshots").iterdir()) == ["00000006", "00000007"]
    assert folder.snapshot(6).update == 6
    with pytest.raises(ConfigError, match="no snapshot of update 2; snapshots there: 6, 7"):
        folder.snapshot(2)


@pytest.mark.parametrize("when", [{"save_every": 5}, {"eval_every": 5, "eval_episodes": 1}])
def test_a_run_that_diverges_says_where(tmp_path: Path, tiny_config: ConfigMaker, when: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"training diverged: .* a lower learning rate may help"):
        _run(tmp_path / "run", tiny_config(updates=150, learning_rate=1e30, **when))


class _Recorder(types.ModuleType):
    """The part of `wandb` that is used, kept in memory."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.logged: dict[str, dict[int, float]] = {}
        self.finished = False

    def init(self, *, project: str, name: str, config: dict[str, object], dir: str) -> _Recorder:  # noqa: A002
        assert (project, name, config["updates"], Path(dir).name) == ("lamo", "run", 3, "run")
        return self

    def log(self, values: dict[str, float], *, step: int) -> None:
        for name, value in values.items():
            self.logged.setdefault(name, {})[step] = value

    def finish(self) -> None:
        self.finished = True


def test_wandb_gets_what_the_files_get_when_it_is_asked_for(
    tmp_path: Path, tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = _Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)
    folder = RunFolder(tmp_path / "run")
    train(tiny_config(updates=3, save_every=1), folder, wandb_project="lamo")
    with folder.metrics.open() as file:
        losses = {int(row["update"]): float(row["action_loss"]) for row in csv.DictReader(file)}
    assert recorder.logged["train/action_loss"] == losses
    assert recorder.finished


def test_wandb_that_is_not_installed_is_named(
    tmp_path: Path, tiny_config: ConfigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="package wandb is not installed"):
        train(tiny_config(), RunFolder(tmp_path / "run"), wandb_project="lamo")


def test_tensorboard_gets_every_scalar(finished_run: RunFolder) -> None:
    events = EventAccumulator(str(finished_run.path))
    events.Reload()
    names = set(events.Tags()["scalars"])
    assert {"train/action_loss", "train/language_loss", "train/learning_rate"} <= names
    assert {"return/hop_2/target_76", "normalized_score/hop_1/target_40"} <= names
    assert [event.step for event in events.Scalars("return/hop_2/target_76")] == [10]
