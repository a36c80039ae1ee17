"""A control loop at 50 Hz that never waits: every timestep ends up in the record, by answer or as missed."""

import contextlib
import threading
import time

import httpx
import numpy as np
import pytest

from clients.policy_client import PolicyClient
from clients.realtime import RealtimeEpisode
from lamo.errors import (
    ActionNotFinite,
    ContentChanged,
    EpisodeEnded,
    InvalidRequest,
    NotFound,
    QueueFull,
    Unauthorized,
)
from lamo.wire import MAX_MISSED

TICK_SECONDS, BUDGET_SECONDS = 0.02, 0.012
SLACK_SECONDS = 0.1
"""Of a busy machine's scheduler; an outage is twice as long."""

FALLBACK = [0.0, 0.5]


@pytest.fixture(autouse=True)
def long_episodes(service):
    service.policy["max_timesteps"] = 100_000


@contextlib.contextmanager
def away_now_and_then(link, away_seconds, every_seconds):
    over = threading.Event()

    def go_away():
        while not over.wait(every_seconds - away_seconds):
            link.go_away()
            time.sleep(away_seconds)
            link.come_back()

    thread = threading.Thread(target=go_away, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Robot:
    """Does what it is answered, or its fallback; it knows what it saw and did."""

    def __init__(self, episode, tick_seconds=TICK_SECONDS):
        self.episode = episode
        self.tick_seconds = tick_seconds
        self.answered = []
        self.longest = 0.0
        self._executed = None

    def run(self, steps):
        began, first = time.monotonic(), self.episode.step
        for step in range(first, first + steps):
            asked = time.monotonic()
            answer = self.episode.act(
                shown(step), 0.5 if step else None, self._executed, within_seconds=BUDGET_SECONDS
            )
            self.longest = max(self.longest, time.monotonic() - asked)
            self._executed = FALLBACK if answer is None else None
            if answer is not None:
                assert answer.step == step
                self.answered.append(step)
            time.sleep(max(0.0, began + (step - first + 1) * self.tick_seconds - time.monotonic()))

    def end(self):
        return self.episode.end(0.5, executed_action=self._executed, truncated=True)


def shown(step):
    return np.array([step, 1.0, -step], np.float32)


def recorded(service, episode_id, steps):
    """The record, which has every timestep once, as it was shown."""
    record = service.episodes[episode_id].steps
    assert [told["step"] for told in record] == list(range(steps))
    assert [told["observation"] for told in record] == [shown(step).tolist() for step in range(steps)]
    return record


def test_every_timestep_is_recorded_through_a_link_that_is_away_now_and_then(link, service):
    steps = 220
    with (
        PolicyClient(link.url) as client,
        RealtimeEpisode(client.start()) as episode,
        away_now_and_then(link, 0.2, 2.0),
    ):
        robot = Robot(episode)
        robot.run(steps)
        assert robot.longest < BUDGET_SECONDS + SLACK_SECONDS
        summary = robot.end()
    assert (summary.length, summary.episode_return) == (steps, 0.5 * steps)
    [episode_id] = service.episodes
    record = recorded(service, episode_id, steps)
    assert any(told.get("missed") for told in record)
    assert len(robot.answered) > steps / 2
    for step in range(steps - 1):
        assert record[step + 1].get("executed_action") == (None if step in robot.answered else FALLBACK)


def test_an_outage_longer_than_a_request_can_tell_of_is_caught_up_with(link, service):
    with PolicyClient(link.url) as client, RealtimeEpisode(client.start(), give_up_seconds=0.1) as episode:
        assert episode.act(shown(0), within_seconds=5.0).step == 0
        link.go_away()
        link.cut()
        for step in range(1, 601):
            assert episode.act(shown(step), 0.5, FALLBACK, within_seconds=0.0) is None
        link.come_back()
        answer = episode.act(shown(601), 0.5, FALLBACK, within_seconds=5.0)
        assert (answer.step, answer.committed_step) == (601, 601)
    [episode_id] = service.episodes
    record = recorded(service, episode_id, 602)
    assert sum(told.get("missed", False) for told in record) > 500


def test_the_end_tells_of_everything_that_is_still_untold(link, service):
    with PolicyClient(link.url) as client, RealtimeEpisode(client.start(), give_up_seconds=0.1) as episode:
        link.go_away()
        for step in range(10):
            episode.act(shown(step), 0.5 if step else None, FALLBACK if step else None, within_seconds=0.0)
        threading.Timer(0.3, link.come_back).start()
        assert episode.end(0.5, executed_action=FALLBACK, terminated=True).length == 10
    [episode_id] = service.episodes
    recorded(service, episode_id, 10)


def test_a_connection_that_is_cut_and_a_wiped_store_cost_no_timestep(link, service):
    with PolicyClient(link.url) as client, RealtimeEpisode(client.start()) as episode:
        robot = Robot(episode)
        robot.run(20)
        link.cut()
        robot.run(20)
        service.episodes.clear()
        robot.run(20)
        assert robot.longest < BUDGET_SECONDS + SLACK_SECONDS
        assert robot.end().length == 60
    assert len(service.windows) == 1


def test_a_name_server_or_a_host_that_hangs_takes_no_time_of_the_loop(url):
    class Hanging(httpx.HTTPTransport):
        seconds = 0.0

        def handle_request(self, request):
            time.sleep(self.seconds)
            return super().handle_request(request)

    network = Hanging()
    with PolicyClient(url, transport=network) as client, RealtimeEpisode(client.start()) as episode:
        network.seconds = 0.5
        robot = Robot(episode)
        robot.run(20)
        assert (robot.answered, robot.longest < BUDGET_SECONDS + SLACK_SECONDS) == ([], True)
        network.seconds = 0.0
        assert robot.end().length == 20


def test_an_answer_after_its_time_is_counted_and_given_to_nobody(url, service):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.delay_seconds = 0.1
        assert episode.act(shown(0), within_seconds=0.05) is None
        assert episode.act(shown(1), 0.5, FALLBACK, within_seconds=5.0).step == 1
        assert episode.late == 1
    [episode_id] = service.episodes
    assert not any(told.get("missed") for told in recorded(service, episode_id, 2))


@pytest.mark.parametrize("error", [Unauthorized("unknown key"), ActionNotFinite("nan"), NotFound("a proxy's page")])
def test_what_says_nothing_of_the_timesteps_is_raised_and_they_are_told_again(url, service, error):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.refuse(error)
        with pytest.raises(type(error)):
            episode.act(shown(0), within_seconds=5.0)
        assert episode.act(shown(1), 0.5, FALLBACK, within_seconds=5.0).committed_step == 1


@pytest.mark.parametrize("error", [ContentChanged("step 1 was recorded with other content"), EpisodeEnded("over")])
def test_an_episode_is_over_once_a_timestep_is_refused_for_good_and_nothing_more_is_sent(url, service, error):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        assert episode.act(shown(0), within_seconds=5.0).step == 0
        service.refuse(error)
        with pytest.raises(type(error)) as first:
            episode.act(shown(1), 0.5, within_seconds=5.0)
        sent, step = len(service.requests), episode.step
        for _ in range(20):
            with pytest.raises(type(error), match=str(error)) as refused:
                episode.act(shown(2), 0.5, within_seconds=5.0)
        with pytest.raises(type(error)):
            episode.end(0.5, truncated=True)
    assert (len(service.requests), episode.step) == (sent, step)
    assert refused.value is first.value
    assert len(refused.traceback) < 5  # it is raised at 50 Hz: a traceback that grew would fill the memory


def test_a_refusal_that_comes_late_is_raised_by_the_next_act(url, service):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.refuse(ContentChanged("step 0 was recorded with other content"))
        with contextlib.suppress(ContentChanged):
            episode.act(shown(0), within_seconds=0.0)
        time.sleep(0.2)
        with pytest.raises(ContentChanged):
            episode.act(shown(1), 0.5, within_seconds=5.0)


@pytest.mark.parametrize(
    ("observation", "executed", "words"),
    [
        ([1.0, 2.0], FALLBACK, r"observation has shape \[2\], policy 'drift' takes \[3\]"),
        ([1.0, 2.0, 3.0], [0.5], r"executed_action has shape \[1\], policy 'drift' takes \[2\]"),
        ([1.0, 2.0, 1e39], FALLBACK, "observation is not finite in float32: 1 of its 3 numbers"),
    ],
)
def test_a_reading_that_the_policy_cannot_take_is_not_kept_and_ends_nothing(
    url, service, observation, executed, words
):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        episode.act(shown(0), within_seconds=5.0)
        with pytest.raises(InvalidRequest, match=words):
            episode.act(observation, 0.5, executed, within_seconds=5.0)
        assert episode.act(shown(1), 0.5, within_seconds=5.0).step == 1
    [episode_id] = service.episodes
    recorded(service, episode_id, 2)


def test_no_more_timesteps_wait_than_an_episode_can_have(link, service):
    service.policy["max_timesteps"] = 300
    with PolicyClient(link.url) as client, RealtimeEpisode(client.start(), give_up_seconds=0.1) as episode:
        link.go_away()
        for step in range(300):
            told = (0.5, FALLBACK) if step else ()
            assert episode.act(shown(step), *told, within_seconds=0.0) is None
        for _ in range(2):
            with pytest.raises(InvalidRequest, match=r"step 300 is beyond the limit .*, max_timesteps is 300"):
                episode.act(shown(300), 0.5, FALLBACK, within_seconds=0.0)
        link.come_back()
        assert episode.end(0.5, executed_action=FALLBACK, truncated=True).length == 300
    [episode_id] = service.episodes
    recorded(service, episode_id, 300)


def test_a_full_service_is_asked_again_when_it_says(url, service):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.refuse(QueueFull("full", retry_after_ms=600))  # later than a request is waited for
        began = time.monotonic()
        assert episode.act(shown(0), within_seconds=5.0).step == 0
        assert time.monotonic() - began >= 0.6


def test_a_wait_that_nobody_can_mean_ends_no_episode(url, service):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.refuse(QueueFull("full", retry_after_ms=10**14))
        assert episode.act(shown(0), within_seconds=5.0).step == 0


def test_what_was_executed_instead_has_to_be_said(url, service):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.delay_seconds = 0.1
        episode.act(shown(0), within_seconds=0.0)
        with pytest.raises(InvalidRequest, match="step 0 was not answered in time"):
            episode.act(shown(1), 0.5, within_seconds=0.0)
        with pytest.raises(InvalidRequest, match="observation is not finite"):
            episode.act([float("nan")], 0.5, FALLBACK, within_seconds=0.0)
        assert episode.act(shown(1), 0.5, FALLBACK, within_seconds=5.0).step == 1


def test_the_end_too_has_to_say_what_was_executed_though_the_answer_came_later(url, service):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        service.delay_seconds = 0.1
        assert episode.act(shown(0), within_seconds=0.0) is None
        while not episode.late:
            time.sleep(0.01)
        with pytest.raises(InvalidRequest, match="step 0 was not answered in time"):
            episode.end(0.5, terminated=True)
        episode.end(0.5, executed_action=FALLBACK, terminated=True)
    [recorded] = service.episodes.values()
    assert recorded.end["executed_action"] == FALLBACK


def test_a_thread_that_is_catching_up_stops_when_it_is_told_to(link, service):
    with PolicyClient(link.url) as client:
        with RealtimeEpisode(client.start()) as episode:
            link.go_away()
            for step in range(8 * MAX_MISSED):
                told = (0.5, FALLBACK) if step else ()
                episode.act(shown(step), *told, within_seconds=0.0)
            time.sleep(0.6)  # what was under way is given up
            service.delay_seconds = 0.25  # of each of eight portions
            link.come_back()
            time.sleep(0.3)
            began = time.monotonic()
        assert time.monotonic() - began < 0.8


def test_a_step_0_that_tells_of_one_before_is_refused_and_not_kept(url):
    with PolicyClient(url) as client, RealtimeEpisode(client.start()) as episode:
        with pytest.raises(InvalidRequest, match="nothing was before it"):
            episode.act(shown(0), 0.0, within_seconds=5.0)
        assert episode.act(shown(0), within_seconds=5.0).step == 0


def test_it_acts_in_its_with_block_only(url):
    with PolicyClient(url) as client:
        episode = RealtimeEpisode(client.start())
        with pytest.raises(RuntimeError, match="use it in a `with` block"):
            episode.act(shown(0), within_seconds=0.0)
