"""The command line: quick to answer, one sentence for what it cannot use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from training import cli


def _fails(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence a command ends with, exit code 2."""
    with pytest.raises(SystemExit) as ending:
        cli.main(words)
    assert ending.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("lamo-train ")]
    return line


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_help_loads_no_torch(words: list[str]) -> None:
    program = f"""
import sys
from training import cli
try:
    cli.main({words!r})
except SystemExit as ending:
    sys.exit(ending.code or 3 * ("torch" in sys.modules or "transformers" in sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "usage: lamo-train" in ended.stdout


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main([command, "--help"])
    assert ending.value.code == 0
    assert f"usage: lamo-train {command}" in capsys.readouterr().out


def test_training_needs_a_task_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--task is needed" in _fails(["train"], capsys)
    assert "--dataset is needed" in _fails(["train", "--task", "hopper"], capsys)


def test_a_missing_data_file_is_named(tmp_path: Path, tiny_lm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.hdf5"
    words = [
        "train",
        "--task",
        "hopper",
        "--dataset",
        str(missing),
        "--lm",
        str(tiny_lm),
        "--out",
        str(tmp_path / "r"),
    ]
    assert str(missing) in _fails(words, capsys)
    assert not (tmp_path / "r").exists()


def test_a_folder_that_is_no_gpt2_is_named(
    tmp_path: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "train",
        "--task",
        "reacher2d",
        "--dataset",
        str(tiny_data),
        "--lm",
        str(tmp_path),
        "--out",
        str(tmp_path / "r"),
    ]
    assert str(tmp_path) in _fails(words, capsys)


def test_a_value_out_of_range_is_named(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--task", "reacher2d", "--dataset", str(tiny_data), "--sample-ratio", "1.5"]
    assert "1.5" in _fails(words, capsys)


def test_only_length_threads_and_device_may_change_when_a_run_goes_on(
    finished_run_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--resume", str(finished_run_path)]
    assert "--learning-rate cannot be changed" in _fails([*words, "--learning-rate", "1"], capsys)
    assert "--out and --resume" in _fails([*words, "--out", "elsewhere"], capsys)


@pytest.fixture
def finished_run_path(finished_run: object) -> Path:
    path: Path = finished_run.path  # type: ignore[attr-defined]
    return path


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"there is no checkpoint directory {tmp_path / 'x'}" in _fails(["evaluate", str(tmp_path / "x")], capsys)
