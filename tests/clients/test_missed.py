"""Timesteps that passed without an answer: told of with the next request, however many they are."""

import time

import numpy as np
import pytest

from clients.together import NextStep
from lamo.errors import InternalError, InvalidRequest, ServiceUnreachable

EXECUTED = [0.5, -0.5]


def shown(step):
    return np.array([step, 1.0, -step], np.float32)


def pass_by(episode, first, last, executed_before=None):
    for step in range(first, last + 1):
        executed = executed_before if step == first else EXECUTED
        episode.miss(shown(step), 0.25 if step else None, executed)


def told_of(service, episode):
    """Of each recorded step: its number, and whether it was told of as missed."""
    return [(step["step"], step.get("missed", False)) for step in service.episodes[episode.episode_id].steps]


@pytest.fixture(autouse=True)
def long_episodes(service):
    service.policy["max_timesteps"] = 2000


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("together", [False, True])
def test_the_next_act_tells_of_what_passed_and_nothing_is_sent_before(connect, url, service, encoding, together):
    client = connect(url, encoding=encoding)
    episode = client.start()
    episode.act(shown(0))
    sent = len(service.requests)
    pass_by(episode, 1, 3)
    assert (episode.step, len(service.requests)) == (4, sent)
    if together:
        [answer] = client.act_together([NextStep(episode, shown(4), 0.25, EXECUTED)])
    else:
        answer = episode.act(shown(4), 0.25, EXECUTED)
    assert (answer.step, answer.committed_step, len(service.requests)) == (4, 4, sent + 1)
    assert told_of(service, episode) == [(0, False), (1, True), (2, True), (3, True), (4, False)]
    assert episode.act(shown(5), 0.25).step == 5


def test_an_end_tells_of_what_passed(connect, url, service):
    episode = connect(url).start()
    pass_by(episode, 0, 2)
    summary = episode.end(1.0, executed_action=EXECUTED, truncated=True)
    assert (summary.length, summary.episode_return) == (3, 1.5)
    assert told_of(service, episode) == [(0, True), (1, True), (2, True)]


def test_an_act_that_failed_may_be_told_of_as_missed(connect, url, service):
    """It was too late for its client, but is recorded; it counts once."""
    episode = connect(url, deadline_seconds=0.4).start()
    service.delay_seconds = 0.6
    with pytest.raises(ServiceUnreachable):
        episode.act(shown(0))
    service.delay_seconds = 0.0
    time.sleep(0.4)
    assert service.episodes[episode.episode_id].committed_step == 0
    episode.miss(shown(0))
    assert episode.act(shown(1), 0.25, EXECUTED).committed_step == 1
    assert [step for step, _ in told_of(service, episode)] == [0, 1]


@pytest.mark.parametrize(("count", "requests"), [(256, 1), (257, 2), (600, 3)])
@pytest.mark.parametrize("together", [False, True])
def test_a_long_outage_is_told_of_in_several_requests(connect, url, service, count, requests, together):
    client = connect(url)
    episode = client.start()
    episode.act(shown(0))
    pass_by(episode, 1, count)
    sent = len(service.requests)
    if together:
        [answer] = client.act_together([NextStep(episode, shown(count + 1), 0.25, EXECUTED)])
    else:
        answer = episode.act(shown(count + 1), 0.25, EXECUTED)
    assert answer.step == count + 1
    assert len(service.requests) - sent == requests
    recorded = service.episodes[episode.episode_id]
    assert [step["step"] for step in recorded.steps] == list(range(count + 2))
    assert [step["observation"] for step in recorded.steps] == [shown(step).tolist() for step in range(count + 2)]
    assert recorded.episode_return == 0.25 * (count + 1)


def test_images_are_told_of_in_requests_that_a_service_takes(connect, url, service):
    service.policy["observation"] = service.policy["observation"] | {"shape": [3072]}
    episode = connect(url, encoding="msgpack").start()
    image = np.zeros(3072, np.float32)
    for step in range(8):
        episode.miss(image, 0.25 if step else None, EXECUTED if step else None)
    service.most_bytes = 60_000
    assert episode.act(image, 0.25, EXECUTED).committed_step == 8
    assert [step for step, _ in told_of(service, episode)] == list(range(9))


@pytest.mark.parametrize(("numbers", "count"), [(1022, 8), (3, 256)])
def test_what_was_told_of_without_an_answer_is_told_of_with_what_passed_since(
    connect, url, service, numbers, count
):
    """As many steps as one request carries; a later one never asks for the action of a step told of as missed."""
    service.policy["observation"] = service.policy["observation"] | {"shape": [numbers]}
    episode = connect(url, deadline_seconds=0.4, encoding="msgpack").start()
    image = np.zeros(numbers, np.float32)
    for step in range(count):
        episode.miss(image, 0.25 if step else None, EXECUTED if step else None)
    service.delay_seconds = 0.6
    with pytest.raises(ServiceUnreachable):
        episode.act(image, 0.25, EXECUTED)
    service.delay_seconds = 0.0
    time.sleep(0.4)
    assert service.episodes[episode.episode_id].committed_step == count
    episode.miss(image, 0.25, EXECUTED)
    assert episode.act(image, 0.25, EXECUTED).committed_step == count + 1


def test_a_long_outage_that_is_told_of_in_part_goes_on_where_it_was(connect, url, service):
    episode = connect(url).start()
    pass_by(episode, 0, 599)
    service.refusals.append(None)
    service.refuse(InternalError("the unforeseen"))
    with pytest.raises(InternalError):
        episode.act(shown(600), 0.25, EXECUTED)
    assert service.episodes[episode.episode_id].committed_step == 256
    assert episode.act(shown(600), 0.25, EXECUTED).committed_step == 600
    assert [step for step, _ in told_of(service, episode)] == list(range(601))


def test_what_was_executed_after_a_missed_step_has_to_be_said(connect, url, service):
    client = connect(url)
    episode = client.start()
    episode.act(shown(0))
    pass_by(episode, 1, 1)
    sent = len(service.requests)
    words = "executed_action is missing: step 1 was missed"
    with pytest.raises(InvalidRequest, match=words):
        episode.act(shown(2), 0.25)
    with pytest.raises(InvalidRequest, match=words):
        episode.miss(shown(2), 0.25)
    with pytest.raises(InvalidRequest, match=words):
        episode.end(0.25)
    with pytest.raises(InvalidRequest, match=words):
        client.act_together([NextStep(episode, shown(2), 0.25)])
    assert (episode.step, len(service.requests)) == (2, sent)


def test_nothing_came_before_step_0(connect, url):
    episode = connect(url).start()
    with pytest.raises(InvalidRequest, match="nothing was before it"):
        episode.miss(shown(0), 1.0)
    with pytest.raises(InvalidRequest, match="observation is not finite"):
        episode.miss([float("nan")] * 3)
    assert episode.step == 0


def test_what_the_service_would_refuse_is_not_noted(connect, url, service):
    service.policy["max_timesteps"] = 3
    episode = connect(url).start()
    with pytest.raises(InvalidRequest, match=r"observation has shape \[2\], policy 'drift' takes \[3\]"):
        episode.miss([1.0, 2.0])
    pass_by(episode, 0, 2)
    with pytest.raises(InvalidRequest, match=r"step 3 is beyond .*, max_timesteps is 3: end the episode"):
        episode.miss(shown(3), 0.25, EXECUTED)
    assert episode.end(0.25, executed_action=EXECUTED, truncated=True).length == 3


def test_a_lost_episode_is_given_back_with_the_steps_it_missed(connect, url, service):
    episode = connect(url).start(target_return=9.0)
    episode.act(shown(0))
    pass_by(episode, 1, 2)
    episode.act(shown(3), 0.25, EXECUTED)
    pass_by(episode, 4, 4)
    service.episodes.clear()
    assert episode.act(shown(5), 0.25, EXECUTED).committed_step == 5
    [window] = service.windows
    assert [timestep["step"] for timestep in window["timesteps"]] == [0, 1, 2, 3]
    assert [timestep["action"] is None for timestep in window["timesteps"]] == [False, True, True, False]
    assert [timestep["return_to_go"] for timestep in window["timesteps"]][:3] == [9.0, 8.75, 8.5]
    assert window["episode_return"] == 0.75
