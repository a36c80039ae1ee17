"""What docs/clients.md shows runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clients import PolicyClient

DOCUMENT = Path(__file__).parents[2] / "docs" / "clients.md"
EPISODE, MISSED, REALTIME, ACCESS = re.findall(
    r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL
)


class Robot:
    """Shows three numbers, and is done after 20 steps."""

    def __init__(self) -> None:
        self.actions: list[list[float]] = []

    def step(self, action):
        self.actions.append(list(action))
        return [0.1 * len(self.actions), 0.0, 0.0], 0.5, len(self.actions) == 20


@pytest.fixture
def names(url, service):
    service.policy |= {"name": "reacher2d", "max_timesteps": 100}
    shown = {"observation": [0.0, 0.0, 0.0], "reward": None, "executed": None, "done": False}
    return shown | {"url": url, "robot": Robot(), "fallback": [0.5, 0.5], "key": "secret"}


@pytest.mark.parametrize("example", [EPISODE, REALTIME])
def test_an_episode_is_played_to_its_end(names, service, example):
    exec(example, names)
    [episode] = service.episodes.values()
    assert episode.end["terminated"]
    assert episode.episode_return == 0.5 * 20
    assert len(names["robot"].actions) == 20


def test_a_robot_that_went_on_without_an_answer_tells_of_it(names, service):
    with PolicyClient(names["url"], deadline_seconds=0.2) as client:
        names["episode"] = client.start()
        for step, delay in enumerate((0.0, 0.4, 0.0)):
            service.delay_seconds = delay
            exec(MISSED, names)
            assert (names["action"] == names["fallback"]) == (step == 1)
            names |= {"reward": 0.5, "observation": [float(step), 0.0, 0.0]}
    [episode] = service.episodes.values()
    assert [told["step"] for told in episode.steps] == [0, 1, 2]
    assert episode.steps[2]["executed_action"] == names["fallback"]


def test_a_client_takes_the_options_that_are_shown(names):
    exec("from clients import PolicyClient\n" + ACCESS, names)
