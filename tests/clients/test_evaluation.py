import csv
import json

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from clients.cli import main
from clients.evaluation_config import EvaluationConfig
from lamo.errors import ConfigError, ContentChanged, Draining, InternalError
from lamo.evaluation import episode_seeds


class Drift(gymnasium.Env):
    """Observations walk at random from a seeded start; the reward is how far the first action went.

    Attributes:
        on_step: called with the number of steps made in all environments.
        steps: that number.
    """

    on_step = staticmethod(lambda steps: None)
    steps = 0

    def __init__(self, length=5):
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.timestep = 0
        return self.np_random.standard_normal(3, np.float32), {}

    def step(self, action):
        Drift.steps += 1
        Drift.on_step(Drift.steps)
        self.timestep += 1
        observation = self.np_random.standard_normal(3, np.float32)
        return observation, float(action[0]), self.timestep >= self.length, False, {}


@pytest.fixture(autouse=True)
def drift(monkeypatch):
    monkeypatch.setattr(Drift, "steps", 0)
    monkeypatch.setattr(Drift, "on_step", staticmethod(lambda steps: None))
    gymnasium.register("Drift-v0", Drift)
    yield
    gymnasium.registry.pop("Drift-v0")


@pytest.fixture
def evaluate(url, tmp_path):
    def evaluate(*options):
        return main(["--url", url, "--policy", "drift", "--episodes", "4", "--out", str(tmp_path), *options])

    return evaluate


def rows(folder):
    with (folder / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def test_an_evaluation_leaves_scores_picture_and_settings(evaluate, tmp_path, service, capsys):
    assert evaluate("--seed", "3") == 0
    played = rows(tmp_path)
    assert [row["target_return"] for row in played] == ["9.0"] * 4 + ["5.0"] * 4
    assert [int(row["episode_seed"]) for row in played] == episode_seeds(3, 4) * 2
    assert {(row["task"], row["policy"], row["revision"], row["hop"]) for row in played} == {
        ("drift", "drift", "0123456789ab", "2")
    }
    assert {row["episode_length"] for row in played} == {"5"}
    assert {row["normalized_score"] for row in played} == {""}
    served = [episode.episode_return for episode in service.episodes.values()]
    assert sorted(float(row["episode_return"]) for row in played) == sorted(served)
    assert (tmp_path / "returns.png").read_bytes().startswith(b"\x89PNG")
    settings = json.loads((tmp_path / "evaluation.json").read_text())
    assert settings["environment"] == "Drift-v0"
    assert (settings["seed"], settings["target_returns"], settings["revision"]) == (3, [9.0, 5.0], "0123456789ab")
    printed = capsys.readouterr().out
    assert "best target" in printed
    assert "mean of 2 targets" in printed
    assert "8 of 8 episodes" in printed
    assert not (tmp_path / "traces.npz").exists()


def test_every_episode_plays_the_revision_that_was_there_at_the_start(evaluate, service):
    evaluate()
    assert {episode.start["policy"] for episode in service.episodes.values()} == {"drift@0123456789ab"}


def test_scores_are_normalized_where_the_task_has_reference_returns(evaluate, tmp_path, service, capsys):
    service.policy["reference_returns"] = {"random": 0.0, "expert": 100.0}
    assert evaluate() == 0
    for row in rows(tmp_path):
        assert float(row["normalized_score"]) == pytest.approx(float(row["episode_return"]))
    assert "normalized score" in capsys.readouterr().out


def test_traces_hold_what_was_played_bit_for_bit(evaluate, tmp_path, proposed):
    assert evaluate("--traces", "--parallel", "3", "--target-returns", "7") == 0
    with np.load(tmp_path / "traces.npz", allow_pickle=False) as traces:
        assert traces["lengths"].tolist() == [5] * 4
        assert traces["seeds"].tolist() == episode_seeds(0, 4)
        for row, (observation, action) in enumerate(zip(traces["observations"], traces["actions"], strict=True)):
            expected = np.array(proposed(observation.astype(float).tolist(), row % 5), np.float32)
            assert action.tobytes() == expected.tobytes()
        assert traces["rewards"].tolist() == traces["actions"][:, 0].astype(float).tolist()


def test_the_number_played_side_by_side_changes_nothing(url, tmp_path):
    played = []
    for parallel in ("1", "64"):
        out = tmp_path / parallel
        main(["--url", url, "--policy", "drift", "--episodes", "3", "--parallel", parallel, "--out", str(out)])
        played.append((out / "scores.csv").read_text())
    assert played[0] == played[1]


def test_an_evaluation_survives_a_restart_of_the_service(evaluate, tmp_path, listener, service):
    def restart(steps):
        if steps == 12:
            listener.stop()
            listener.start()

    Drift.on_step = staticmethod(restart)
    assert evaluate() == 0
    assert len(rows(tmp_path)) == 8
    for episode in service.episodes.values():
        assert [step["step"] for step in episode.steps] == list(range(5))


def test_what_was_played_before_the_service_failed_for_good_is_written(evaluate, tmp_path, service, capsys):
    def fail(steps):
        if steps == 12:
            service.refuse(Draining("shutting down"), times=1000)

    Drift.on_step = staticmethod(fail)
    assert evaluate("--parallel", "1", "--deadline", "2") == 1
    assert len(rows(tmp_path)) == 2
    assert (tmp_path / "returns.png").exists()
    printed = capsys.readouterr()
    assert "2 of 8 episodes" in printed.out
    assert "lamo-evaluate: shutting down (still so after " in printed.err


def test_what_was_played_before_an_interruption_is_written(evaluate, tmp_path, capsys):
    def interrupt(steps):
        if steps == 7:
            raise KeyboardInterrupt

    Drift.on_step = staticmethod(interrupt)
    assert evaluate("--parallel", "1") == 130
    assert len(rows(tmp_path)) == 1
    assert capsys.readouterr().err == "lamo-evaluate: interrupted\n"


def test_a_failure_before_the_first_episode_leaves_earlier_results_alone(evaluate, tmp_path, service):
    assert evaluate() == 0
    before = (tmp_path / "scores.csv").read_text()
    Drift.on_step = staticmethod(lambda steps: service.refuse(ContentChanged("other content")))
    assert evaluate("--seed", "1") == 2
    assert (tmp_path / "scores.csv").read_text() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--policy", "nobody"], "policy 'nobody' is not served"),
        (["--env", "Nowhere-v0"], "environment 'Nowhere-v0' cannot be made"),
        (["--env", "Pendulum-v1"], "takes actions of shape [1], policy 'drift' answers shape [2]"),
        (["--episodes", "0"], "cannot play 0 episodes"),
        (["--parallel", "0"], "cannot play 0 episodes side by side"),
        (["--target-returns", "5", "5"], "name one of them twice"),
        (["--target-returns", "nan"], "target return nan is not finite"),
        (["--deadline", "0"], "a deadline of 0.0 s is not positive"),
        (["--url", "localhost:8000"], "url 'localhost:8000'"),
    ],
)
def test_bad_input_is_named_and_ends_with_code_2(evaluate, capsys, options, sentence):
    assert evaluate(*options) == 2
    assert sentence in capsys.readouterr().err


def test_an_unreachable_service_is_named_and_ends_with_code_1(dead_url, tmp_path, capsys):
    began = ["--url", dead_url, "--policy", "drift", "--out", str(tmp_path), "--deadline", "0.5"]
    assert main(began) == 1
    assert f"no answer from {dead_url} after " in capsys.readouterr().err


def test_a_policy_without_an_environment_asks_for_one(evaluate, service, capsys):
    service.policy["environment"] = None
    assert evaluate() == 2
    assert "policy 'drift' names no environment: choose one with --env" in capsys.readouterr().err
    assert evaluate("--env", "Drift-v0") == 0


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_played(evaluate, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert evaluate("--out", str(tmp_path / "file" / "out")) == 2
    assert f"folder {tmp_path / 'file' / 'out'} cannot be made: Not a directory" in capsys.readouterr().err
    assert Drift.steps == 0


def test_settings_are_checked_before_anything_is_asked(tmp_path):
    with pytest.raises(ConfigError, match="target returns"):
        EvaluationConfig("http://nobody.invalid", "drift", tmp_path, target_returns=(1.0, 1.0))


def test_a_key_opens_the_service_and_is_written_nowhere(evaluate, tmp_path, service, capsys, monkeypatch):
    service.key = "lamo_0123456789abcdef"
    assert evaluate() == 2
    assert "the request names no key that is known here" in capsys.readouterr().err
    file = tmp_path / "key"
    file.write_text(service.key + "\n")
    assert evaluate("--api-key-file", str(file)) == 0
    file.unlink()
    monkeypatch.setenv("LAMO_API_KEY", service.key)
    assert evaluate() == 0
    assert service.key not in "".join(capsys.readouterr())
    for path in tmp_path.iterdir():
        assert service.key.encode() not in path.read_bytes()


def test_a_failure_names_the_request(evaluate, service, capsys):
    service.refuse(InternalError("the unforeseen"), headers={"X-Request-Id": "abc"})
    assert evaluate() == 1
    assert capsys.readouterr().err == "lamo-evaluate: the unforeseen (request abc)\n"
    service.refuse(InternalError("the unforeseen", request_id="abc", trace_id="0af7"))
    assert evaluate() == 1
    assert capsys.readouterr().err == "lamo-evaluate: the unforeseen (request abc, trace 0af7)\n"
