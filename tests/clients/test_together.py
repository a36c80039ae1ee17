import numpy as np
import pytest

from clients.episode import Episode
from clients.memory import Memory
from clients.together import NextStep, Together, portions
from lamo.errors import ContentChanged, QueueFull, StepInFlight, UnreadableAnswer
from lamo.wire import ActTogetherAnswer, EpisodeState, PolicyInfo
from tests.clients.fake_service import POLICY

STATE = EpisodeState(
    episode_id="e",
    policy="drift",
    revision="r",
    hop=1,
    dtype="float32",
    target_return=1.0,
    return_to_go=1.0,
    episode_return=0.0,
    committed_step=-1,
    expected_step=0,
    labels={},
    expires_at=0.0,
    ended=False,
)


def steps(count, size=3):
    states = [STATE.model_copy(update={"episode_id": f"e{index}"}) for index in range(count)]
    episodes = [Episode(None, Memory(state, policy=PolicyInfo.model_validate(POLICY))) for state in states]
    return [NextStep(episode, np.full(size, index, np.float32)) for index, episode in enumerate(episodes)]


def acted(index):
    timing = dict.fromkeys(("queue_ms", "recall_ms", "infer_ms", "commit_ms", "total_ms", "batch_size"), 0)
    fields = {"action": [0.5], "return_to_go": 1.0, "policy": "p", "revision": "r", "observation_zscore": 0.0}
    fields |= {"committed_step": 0, "replayed": False, "clipped": [], "timing": timing}
    return {"status": 200, "body": {"episode_id": f"e{index}", "step": 0, **fields}}


def refused(error):
    return {"status": error.status, "body": error.problem()}


def answer(*items):
    return ActTogetherAnswer.model_validate({"items": list(items)})


def asked(together):
    return [item.episode_id for item in together.call().message.items]


def test_only_what_is_worth_another_try_is_sent_again():
    playing = steps(4)
    together = Together(playing)
    full, flying = QueueFull("full", retry_after_ms=50), StepInFlight("busy", retry_after_ms=10)
    with pytest.raises(QueueFull):  # it asks for the longest pause
        together.take(answer(refused(flying), acted(1), refused(ContentChanged("other")), refused(full)))
    assert asked(together) == ["e0", "e3"]
    together.take(answer(acted(0), acted(3)))
    outcomes = together.ended()
    assert [getattr(outcome, "episode_id", None) for outcome in outcomes] == ["e0", "e1", None, "e3"]
    assert isinstance(outcomes[2], ContentChanged)
    assert [step.episode.step for step in playing] == [1, 1, 0, 1]


def test_what_is_given_up_keeps_the_reason_the_service_gave_for_it():
    together = Together(steps(2))
    with pytest.raises(StepInFlight):
        together.take(answer(acted(0), refused(StepInFlight("busy"))))
    together.give_up(QueueFull("another's"))
    first, second = together.ended()
    assert (first.episode_id, str(second)) == ("e0", "busy")

    together = Together(steps(2))
    together.give_up(QueueFull("full"))
    assert [str(outcome) for outcome in together.ended()] == ["full"] * 2


def test_an_answer_with_other_items_is_no_answer():
    with pytest.raises(UnreadableAnswer, match="3 items were answered with 2"):
        Together(steps(3)).take(answer(acted(0), acted(1)))


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(0, 3, []), (64, 17, [64]), (2500, 3, [1024, 1024, 452]), (64, 1024, [32, 32]), (3, 10**6, [1, 1, 1])],
)
def test_a_request_holds_no_more_than_the_service_takes(count, size, sizes):
    playing = steps(count, size)
    parts = list(portions(playing))
    assert [len(part) for part in parts] == sizes
    assert [step for part in parts for step in part] == playing


def test_executed_actions_count_in_a_request_too():
    playing = [NextStep(step.episode, step.observation, executed_action=np.zeros(24)) for step in steps(1000, 40)]
    assert [len(part) for part in portions(playing)] == [512, 488]
