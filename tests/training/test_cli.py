"""The command line: quick to answer, one sentence for what it cannot use."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from transformers import GPT2Config, GPT2LMHeadModel

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


def test_training_needs_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--task is needed" in _fails(["train"], capsys)


def test_a_missing_data_file_is_named(tmp_path: Path, tiny_lm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.hdf5"
    words = [
        "train",
        "--task",
        "hopper-medium",
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


def _train_words(data: Path, lm: Path, out: Path) -> list[str]:
    return ["train", "--task", "reacher2d", "--dataset", str(data), "--lm", str(lm), "--out", str(out)]


def _without_terminals(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["terminals"]


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def _of_another_task(path: Path) -> None:
    with h5py.File(path, "a") as file:
        observations = file["observations"][:, :11]
        del file["observations"]
        file["observations"] = observations


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_without_terminals, "has no array 'terminals'; arrays present: actions, observations, rewards, timeouts"),
        (_cut_short, "cannot be read as HDF5"),
        (_of_another_task, "observations of shape [11], task 'reacher2d' has [12]"),
    ],
)
def test_data_that_cannot_be_trained_on_is_named_and_no_run_is_begun(
    tmp_path: Path,
    tiny_data: Path,
    tiny_lm: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    sentence: str,
) -> None:
    data = Path(shutil.copy(tiny_data, tmp_path / "spoilt.hdf5"))
    spoil(data)
    line = _fails(_train_words(data, tiny_lm, tmp_path / "r"), capsys)
    assert str(data) in line
    assert sentence in line
    assert not (tmp_path / "r").exists()


def test_a_language_model_of_another_kind_is_named(
    tmp_path: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    line = _fails(_train_words(tiny_data, tmp_path, tmp_path / "r"), capsys)
    assert f"language model '{tmp_path}' is a 'llama', not a 'gpt2'" in line


def test_a_vocabulary_too_small_for_its_tokenizer_is_named_with_both_numbers(
    tmp_path: Path, tiny_data: Path, tiny_lm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = Path(shutil.copytree(tiny_lm, tmp_path / "lm"))
    layout = GPT2Config.from_pretrained(lm)
    layout.vocab_size = 100
    GPT2LMHeadModel(layout).save_pretrained(lm)
    words = [*_train_words(tiny_data, lm, tmp_path / "r"), "--language-loss-weight", "0.1"]
    line = _fails(words, capsys)
    assert re.search(r"the tokenizer of '.*lm' gives token \d{3}, its model has 100", line)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "words", [["train", "--task", "cooking"], ["data", "inspect", "x.hdf5", "--task", "cooking"]]
)
def test_an_unknown_task_is_refused(
    words: list[str], tmp_path: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _fails([str(tiny_data) if word == "x.hdf5" else word for word in words], capsys)
    assert "cooking" in line
    assert "walker2d" in line


def test_an_output_that_cannot_be_written_is_named(
    tmp_path: Path, tiny_data: Path, tiny_lm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    line = _fails(_train_words(tiny_data, tiny_lm, tmp_path / "file" / "r"), capsys)
    assert str(tmp_path / "file" / "r") in line
    assert "Not a directory" in line


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_truncated_checkpoint_or_run_is_named(
    tmp_path: Path, finished_run_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run = Path(shutil.copytree(finished_run_path, tmp_path / "run"))
    if command == "evaluate":
        weights = run / "checkpoint" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        line = _fails(["evaluate", str(run / "checkpoint")], capsys)
        assert f"{weights} ({weights.stat().st_size} bytes) is truncated" in line
    else:
        (run / "config.json").write_text("{")
        out = tmp_path / "report.html"
        line = _fails(["report", str(run), "--evaluation", str(run), "--out", str(out)], capsys)
        assert str(run / "config.json") in line
        assert not out.exists()


def test_a_folder_of_policies_is_not_replaced_by_one_of_them(
    tmp_path: Path, finished_run_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished_run_path / "checkpoint", tmp_path / "policies" / "arm")
    line = _fails(["export", str(finished_run_path), "--out", str(tmp_path / "policies")], capsys)
    assert "is there and no checkpoint directory" in line
    assert (tmp_path / "policies" / "arm" / "config.json").is_file()


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
