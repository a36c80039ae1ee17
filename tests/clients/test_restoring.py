"""An episode that the service lost is given back by its client, and the caller hears nothing of it."""

import numpy as np
import pytest

from clients.at_once import MOST_TALKS
from clients.policy_client import PolicyClient
from clients.together import NextStep
from lamo.errors import EpisodeEnded, InvalidRequest, StepConflict, UnknownEpisode
from tests.clients.fake_service import problem

OBSERVATIONS = np.random.default_rng(5).standard_normal((6, 3)).astype(np.float32)
REWARDS = (0.1, 0.2, 0.3, 0.7, 1e-3, 5.0)
K = 4


def play(episode, first, last):
    return [episode.act(OBSERVATIONS[step], REWARDS[step] if step else None) for step in range(first, last)]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("played", [1, 3, 5])
def test_a_wiped_store_is_given_the_last_timesteps_as_they_were(connect, url, service, caplog, encoding, played):
    episode = connect(url, encoding=encoding).start("drift", 7.5, ttl_seconds=60, labels={"robot": "left"})
    before = play(episode, 0, played)
    service.episodes.clear()
    [after] = play(episode, played, played + 1)
    assert (after.step, after.replayed) == (played, False)
    [window] = service.windows
    timesteps = window.pop("timesteps")
    first = max(0, played - K)
    assert window == {
        "policy": "drift",
        "revision": "0123456789ab",
        "target_return": 7.5,
        "episode_return": sum(REWARDS[1:played]),
        "labels": {"robot": "left"},
        "ttl_seconds": 60,
    }
    assert [timestep["step"] for timestep in timesteps] == list(range(first, played))
    for timestep, answer in zip(timesteps, before[first:], strict=True):
        assert timestep["observation"] == OBSERVATIONS[timestep["step"]].astype(float).tolist()
        assert timestep["reward"] == (REWARDS[timestep["step"]] if timestep["step"] else None)
        assert (timestep["action"], timestep["return_to_go"]) == (answer.action, answer.return_to_go)
    assert f"restored episode {episode.episode_id} at step {played - 1}" in caplog.text


def test_an_array_that_is_used_again_is_remembered_as_it_was(connect, url, service):
    episode = connect(url).start()
    shown = OBSERVATIONS[0].copy()
    episode.act(shown)
    shown[:] = 9
    service.episodes.clear()
    episode.act(shown, 1.0)
    assert service.windows[0]["timesteps"][0]["observation"] == OBSERVATIONS[0].astype(float).tolist()


def test_a_store_that_fell_behind_is_brought_up_to_date(connect, url, service):
    episode = connect(url).start()
    play(episode, 0, 4)
    del service.episodes[episode.episode_id].steps[2:]
    play(episode, 4, 5)
    assert service.episodes[episode.episode_id].committed_step == 4
    assert len(service.windows) == 1


def test_an_episode_lost_before_its_first_answer_is_started_again(connect, url, service):
    episode = connect(url).start("drift", 7.5, labels={"robot": "left"})
    fields = service.episodes[episode.episode_id].start
    service.episodes.clear()
    play(episode, 0, 1)
    assert service.episodes[episode.episode_id].start == fields
    assert service.windows == []


def test_an_end_is_told_to_a_store_that_lost_the_episode(connect, url, service):
    episode = connect(url).start()
    play(episode, 0, 6)
    service.episodes.clear()
    summary = episode.end(2.0, terminated=True)
    assert (summary.length, summary.episode_return) == (6, pytest.approx(sum(REWARDS[1:]) + 2.0))


def test_each_of_many_is_given_back_and_the_others_are_not_disturbed(connect, url, service):
    client = connect(url)
    kept, wiped, behind, fresh = episodes = [client.start() for _ in range(4)]
    for step in range(3):
        playing = episodes[:3]
        client.act_together([NextStep(episode, OBSERVATIONS[step], 1.0 if step else None) for episode in playing])
    del service.episodes[wiped.episode_id]
    del service.episodes[fresh.episode_id]
    service.episodes[behind.episode_id].steps.pop()
    steps = [NextStep(episode, OBSERVATIONS[3], 1.0) for episode in (kept, wiped, behind)]
    answers = client.act_together([*steps, NextStep(fresh, OBSERVATIONS[0])])
    assert [answer.step for answer in answers] == [3, 3, 3, 0]
    assert len(service.windows) == 2
    assert {service.episodes[episode.episode_id].committed_step for episode in episodes} == {0, 3}


def test_many_lost_at_once_are_given_back_side_by_side_where_the_client_can(connect, url, service):
    client = connect(url)
    episodes = [client.start() for _ in range(MOST_TALKS + 4)]
    client.act_together([NextStep(episode, OBSERVATIONS[0]) for episode in episodes])
    service.episodes.clear()
    service.restore_seconds = 0.05
    service.refusals.extend([None, lambda: problem(InvalidRequest("no such window"))])
    outcomes = client.act_together([NextStep(episode, OBSERVATIONS[1], 1.0) for episode in episodes])
    refused = [outcome for outcome in outcomes if isinstance(outcome, InvalidRequest)]
    assert [str(error) for error in refused] == ["no such window"]  # it takes no other along
    assert {outcome.step for outcome in outcomes if outcome not in refused} == {1}
    assert len(service.windows) == len(episodes) - 1
    if isinstance(client, PolicyClient):
        assert service.most_restoring == 1
    else:
        assert 1 < service.most_restoring <= MOST_TALKS


def test_what_a_resumed_episode_saw_since_is_enough(connect, url, service):
    episode = connect(url).start()
    play(episode, 0, 3)
    resumed = connect(url).resume(episode.episode_id)
    play(resumed, 3, 4)
    service.episodes.clear()
    play(resumed, 4, 5)
    [window] = service.windows
    assert [timestep["step"] for timestep in window["timesteps"]] == [3]
    assert window["episode_return"] == REWARDS[1] + REWARDS[2] + REWARDS[3]


@pytest.mark.parametrize(("older", "ttl"), [(False, {"ttl_seconds": 90}), (True, {})])
def test_a_resumed_episode_is_given_back_to_live_as_long_as_before(connect, url, service, older, ttl):
    service.older = older  # it does not say how long that was: the service's choice then
    episode = connect(url).start(ttl_seconds=90)
    play(episode, 0, 2)
    resumed = connect(url).resume(episode.episode_id)
    play(resumed, 2, 3)
    service.episodes.clear()
    play(resumed, 3, 4)
    [window] = service.windows
    assert {name: window[name] for name in window if name == "ttl_seconds"} == ttl


def test_an_older_service_is_given_back_how_long_its_episode_was_to_live(connect, url, service):
    service.older = True
    episode = connect(url).start(ttl_seconds=90)
    play(episode, 0, 2)
    service.episodes.clear()
    play(episode, 2, 3)
    assert service.windows[0]["ttl_seconds"] == 90


@pytest.mark.parametrize("together", [False, True])
def test_a_resumed_episode_of_which_nothing_was_seen_cannot_be_given_back(connect, url, service, together):
    client = connect(url)
    episode = client.start()
    play(episode, 0, 3)
    resumed = client.resume(episode.episode_id)
    service.episodes.clear()
    words = "this client cannot give it back: it resumed the episode at step 3 and has seen no answer since"
    if together:
        [error] = client.act_together([NextStep(resumed, OBSERVATIONS[3], 1.0)])
        assert isinstance(error, UnknownEpisode)
        assert words in str(error)
    else:
        with pytest.raises(UnknownEpisode, match=words):
            play(resumed, 3, 4)


def test_what_was_deleted_or_ended_on_purpose_stays_gone(connect, url, service):
    client = connect(url)
    deleted, ended = client.start(), client.start()
    for episode in (deleted, ended):
        play(episode, 0, 2)
    deleted.delete()
    ended.end(1.0)
    with pytest.raises(UnknownEpisode):
        play(deleted, 2, 3)
    with pytest.raises(EpisodeEnded):
        play(ended, 2, 3)
    service.episodes.clear()
    with pytest.raises(UnknownEpisode):
        play(ended, 2, 3)
    assert service.windows == []


@pytest.mark.parametrize("together", [False, True])
def test_a_store_that_forgets_again_and_again_is_given_up(connect, url, service, together):
    client = connect(url)
    episode = client.start()
    play(episode, 0, 2)
    service.episodes.clear()
    service.forgetful = True
    if together:
        [error] = client.act_together([NextStep(episode, OBSERVATIONS[2], 1.0)])
        assert isinstance(error, UnknownEpisode)
    else:
        with pytest.raises(UnknownEpisode):
            play(episode, 2, 3)
    assert len(service.windows) == 3


def test_a_conflict_with_another_client_is_no_loss(connect, url, service):
    client = connect(url)
    episode = client.start()
    other = client.resume(episode.episode_id)
    play(other, 0, 3)
    play(episode, 0, 3)
    service.refuse(StepConflict("step 3 is not the expected 9", committed_step=8, expected_step=9))
    with pytest.raises(StepConflict, match="not the expected 9"):
        play(episode, 3, 4)
    assert service.windows == []


def test_a_service_that_stands_beyond_what_was_seen_answers_from_its_record(connect, url, service):
    """Its 404 came from a replica that had not heard of the episode; the store has more than was seen answered."""
    episode = connect(url).start()
    play(episode, 0, 2)
    play_ahead = connect(url).resume(episode.episode_id)
    play(play_ahead, 2, 3)
    service.refuse(UnknownEpisode("not here"))
    [answer] = play(episode, 2, 3)
    assert answer.replayed
    assert service.windows == []


def test_a_policy_is_asked_for_its_length_once(connect, url, service):
    client = connect(url)
    for _ in range(3):
        client.start()
    assert [request for request in service.requests if request.startswith("GET")] == [
        "GET /policies/drift@0123456789ab"
    ]


def test_of_a_window_that_is_too_large_for_one_request_the_newer_half_is_given_back(connect, url, service):
    episode = connect(url, encoding="msgpack").start()
    images = np.zeros((6, 3072), np.float32)
    for step in range(5):
        episode.act(images[step], 0.5 if step else None)
    service.episodes.clear()
    service.most_bytes = 40_000
    assert episode.act(images[5], 0.5).committed_step == 5
    [window] = service.windows
    assert ([timestep["step"] for timestep in window["timesteps"]], window["episode_return"]) == ([3, 4], 2.0)
