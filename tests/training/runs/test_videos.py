"""Videos of episodes: of the very ones that are scored, or a sentence why there are none."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from lamo import checkpoint
from lamo.checkpoint import Checkpoint
from lamo.evaluation import plans, read_scores
from lamo.policy import Policy
from training import cli
from training.reacher2d import Reacher2d
from training.runs.evaluate import evaluate
from training.runs.run_folder import RunFolder
from training.runs.videos import recording, video_files


@pytest.fixture
def policy(finished_run: RunFolder) -> Policy:
    """For episodes of 12 steps."""
    policy = Policy.load(finished_run.checkpoint)
    policy.config = dataclasses.replace(policy.config, max_timesteps=12)
    return policy


@pytest.fixture
def drawn_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reacher2d as a grey square, brighter with every step: no machine is too bare for it."""

    def picture(arm: Any) -> np.ndarray[Any, Any]:
        steps = round(arm.data.time / 0.15)
        return np.full((49, 48, 3), 20 + 10 * steps, np.uint8)

    monkeypatch.setattr(Reacher2d, "render", picture)


def brightness(file: Path) -> list[float]:
    return imageio.imread(file, plugin="pyav").mean(axis=(1, 2, 3)).tolist()


def test_the_first_episodes_of_each_target_have_files(tmp_path: Path) -> None:
    episodes = plans((76.0, 40.0), 3, seed=4)
    files = video_files(tmp_path, episodes, 2, per_target=2)
    assert list(files) == [0, 1, 3, 4]
    assert files[3] == tmp_path / f"target-40-hop-2-seed-{episodes[3].seed}.mp4"


@pytest.mark.usefixtures("drawn_by_hand")
def test_a_video_has_a_picture_of_every_step_of_its_own_episode(policy: Policy, tmp_path: Path) -> None:
    episodes = plans((76.0, 40.0), 2, seed=4)
    files = video_files(tmp_path, episodes, 1, per_target=1)
    unseen = evaluate(policy, episodes, hop=1, parallel=3, traces=True)
    with recording(files, 7.0) as recorder:
        seen = evaluate(policy, episodes, hop=1, parallel=3, traces=True, recorder=recorder)
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    for file in files.values():
        assert brightness(file) == pytest.approx([20.0 + 10 * step for step in range(12)], abs=4)
    for left, right in zip(seen, unseen, strict=True):
        assert left.trace is not None
        assert right.trace is not None
        assert left.trace.actions.tobytes() == right.trace.actions.tobytes()


def test_where_nothing_can_be_drawn_the_command_names_the_variable(
    finished_run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def undrawable(arm: Reacher2d) -> None:
        raise RuntimeError("no OpenGL\nplatform library")

    monkeypatch.setattr(Reacher2d, "render", undrawable)
    with pytest.raises(SystemExit) as ending:
        cli.main(["evaluate", str(finished_run.checkpoint), "--episodes", "1", "--video", str(tmp_path / "v")])
    assert ending.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lamo-train")]
    assert "'training.reacher2d:Reacher2d-v0' cannot be drawn here: no OpenGL platform library" in line
    assert "MUJOCO_GL=egl" in line
    assert not (tmp_path / "v").exists()


@pytest.mark.usefixtures("drawn_by_hand")
def test_no_video_at_all_is_refused(finished_run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["evaluate", str(finished_run.checkpoint), "--video", "v", "--videos", "0"])
    assert ending.value.code == 2
    assert "videos is 0, it must be at least 1" in capsys.readouterr().err


def test_the_command_films_the_arm_without_a_display(
    policy: Policy, finished_run: RunFolder, tmp_path: Path
) -> None:
    folder, tensors = tmp_path / "policy", Checkpoint.read(finished_run.checkpoint).tensors
    checkpoint.write(folder, policy.config, tensors, policy.normalization, training={}, card="# for tests\n")
    words = ["evaluate", str(folder), "--episodes", "1", "--target-returns", "40"]
    played = subprocess.run(
        [sys.executable, "-m", "training.cli", *words, "--video", tmp_path / "v", "--out", tmp_path],
        env={**os.environ, "MUJOCO_GL": "egl", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot be drawn here" in played.stderr:
        pytest.skip("this machine has no EGL")
    assert played.returncode == 0, played.stderr
    (score,) = read_scores(tmp_path / "scores.csv")
    (file,) = (tmp_path / "v").iterdir()
    frames = imageio.imread(file, plugin="pyav")
    assert imageio.immeta(file, plugin="pyav")["fps"] == 7
    assert len(frames) == score.episode_length == 12
    assert frames[0].shape == (480, 480, 3)
    reds = [((frame[..., 0] > 100) & (frame[..., 1] < 100)).sum() for frame in frames]
    assert min(reds) > 300  # the target is in the picture
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50  # and the arm moves
