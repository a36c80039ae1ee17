"""Several processes train one run: as one would, and all end when one is told to."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lamo.errors import ConfigError
from training.learning.config import TrainConfig
from training.learning.processes import Processes
from training.runs.run_folder import RunFolder
from training.runs.train import train

ConfigMaker = Callable[..., TrainConfig]

TWO_PROCESSES = (
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"),
    *("--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1"),
    *("-m", "training.cli", "train"),
)


def _losses(folder: RunFolder) -> list[list[float]]:
    with folder.metrics.open(newline="") as file:
        return [[float(row["action_loss"]), float(row["language_loss"])] for row in csv.DictReader(file)]


def _interrupt_when(path: Path, command: list[str]) -> str:
    """Run a command until the path exists, then end it as a job scheduler does; what it said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 300
            while not path.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    return said


def test_two_processes_go_on_with_a_run_as_one_would_and_save_it_when_interrupted(
    tmp_path: Path, tiny_config: ConfigMaker
) -> None:
    settings = {"dropout": 0.0, "lora_dropout": 0.0, "save_every": 2, "eval_every": 4, "batch_size": 5}
    folder = RunFolder(tmp_path / "run")
    train(tiny_config(updates=2, **settings), folder)
    saved = folder.path / "snapshots" / "00000006"
    said = _interrupt_when(saved, [*TWO_PROCESSES, "--resume", str(folder.path), "--updates", "100000"])
    stopped = folder.snapshot().update
    assert stopped >= 6, said
    assert "interrupted and saved" in said
    losses = _losses(folder)
    assert len(losses) == stopped
    alone = RunFolder(tmp_path / "alone")
    train(tiny_config(updates=6, **settings), alone)
    for ours, theirs in zip(losses[:6], _losses(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_what_the_leader_raises_reaches_the_caller(tiny_config: ConfigMaker) -> None:
    def fail() -> None:
        raise ConfigError("it diverged")

    with pytest.raises(ConfigError, match="it diverged"):
        Processes.join(tiny_config()).lead(fail)


def test_fp16_is_refused_on_a_cpu(tiny_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="precision fp16 needs a GPU, the device is cpu"):
        Processes.join(tiny_config(precision="fp16"))


def test_a_batch_of_fewer_rows_than_parts_is_refused(tiny_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="it must be at least 5: 1 processes times accumulate 5"):
        Processes.join(tiny_config(accumulate=5))
