"""Playing a policy in this process."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lamo.errors import ConfigError, SimulatorError
from lamo.evaluation import plans
from lamo.policy import Policy
from training import cli
from training.runs.evaluate import evaluate
from training.runs.run_folder import RunFolder


@pytest.fixture(scope="module")
def policy(finished_run: RunFolder) -> Policy:
    return Policy.load(finished_run.checkpoint, reproducible=True)


def test_an_episode_does_not_depend_on_who_plays_beside_it(policy: Policy) -> None:
    episodes = plans((40.0,), 3, seed=4)
    together = evaluate(policy, episodes, hop=1, parallel=3, traces=True)
    alone = evaluate(policy, episodes[1:2], hop=1, parallel=1, traces=True)[0]
    assert together[1].trace is not None
    assert alone.trace is not None
    assert together[1].trace.actions.tobytes() == alone.trace.actions.tobytes()
    assert together[1].episode_return == alone.episode_return


def test_the_hop_decides_what_is_played(policy: Policy) -> None:
    episodes = plans((40.0,), 1, seed=4)
    one, five = (evaluate(policy, episodes, hop=hop, parallel=1, traces=True)[0].trace for hop in (1, 5))
    assert one is not None
    assert five is not None
    assert one.actions[:5].tobytes() == five.actions[:5].tobytes()
    assert one.actions.tobytes() != five.actions.tobytes()


@pytest.mark.parametrize(
    ("hop", "parallel", "sentence"), [(6, 1, "hop 6 is outside 1..5"), (1, 0, "parallel is 0")]
)
def test_what_cannot_be_played_is_refused(policy: Policy, hop: int, parallel: int, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        evaluate(policy, plans((1.0,), 1, 0), hop=hop, parallel=parallel)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ("Pendulum-v1", r"'Pendulum-v1' has observations \[3\] and actions \[1\], the policy \[12\] and \[2\]"),
        ("Nowhere-v0", "environment 'Nowhere-v0' cannot be made"),
        ("nowhere:Reacher-v0", "environment 'nowhere:Reacher-v0' cannot be made"),
        (":Reacher-v0", "environment ':Reacher-v0' cannot be made"),
        (None, "names no environment"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(
    policy: Policy, environment: str | None, sentence: str
) -> None:
    policy.config = dataclasses.replace(policy.config, environment=environment)
    with pytest.raises(SimulatorError, match=sentence):
        evaluate(policy, plans((1.0,), 1, 0), hop=1, parallel=1)


def test_the_command_writes_scores_and_traces_and_prints_a_table(
    finished_run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "evaluate",
        str(finished_run.checkpoint),
        "--episodes",
        "2",
        "--target-returns",
        "30",
        "7",
        "--seed",
        "5",
    ]
    with pytest.raises(SystemExit) as ending:
        cli.main([*words, "--parallel", "3", "--reproducible", "--out", str(tmp_path), "--traces"])
    assert ending.value.code == 0
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    policy = Policy.load(finished_run.checkpoint)
    assert [row["target_return"] for row in rows] == ["30.0", "30.0", "7.0", "7.0"]
    assert {(row["task"], row["policy"], row["revision"], row["hop"]) for row in rows} == {
        ("reacher2d", "checkpoint", policy.revision, "2")
    }
    assert [int(row["episode_seed"]) for row in rows] == [plan.seed for plan in plans((30.0, 7.0), 2, 5)]
    assert {(row["algorithm"], row["seed"], row["update"]) for row in rows} == {
        ("lamo language_loss_weight=0.5", "0", "10")
    }
    assert all(float(row["normalized_score"]) == float(row["episode_return"]) for row in rows)
    with np.load(tmp_path / "traces.npz") as traces:
        assert traces["lengths"].tolist() == [100] * 4
        assert traces["actions"].shape == (400, 2)
        sums = traces["rewards"].reshape(4, 100).sum(axis=1)
    np.testing.assert_array_equal(sums, [float(row["episode_return"]) for row in rows])
    assert "normalized score" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--traces"], "name its folder with --out"),
        (["--traces", "--out", "x", "--hops", "1", "2"], "--traces holds the episodes of one hop, not of 2"),
        (["--hops", "9"], "hop 9 is outside 1..5"),
        (["--episodes", "0"], "cannot play 0 episodes"),
        (["--target-returns", "nan"], "target return is nan, it must be a finite number"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    finished_run: RunFolder, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    with pytest.raises(SystemExit) as ending:
        cli.main(["evaluate", str(finished_run.checkpoint), *options])
    assert ending.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lamo-train")]
    assert sentence in line
