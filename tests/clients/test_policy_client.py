import asyncio
import inspect
import re
import time

import httpx
import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from starlette.responses import JSONResponse

from clients.episode import AsyncEpisode, Episode
from clients.policy_client import AsyncPolicyClient, PolicyClient
from clients.together import NextStep
from lamo.errors import (
    ConfigError,
    ContentChanged,
    Draining,
    EpisodeEnded,
    InternalError,
    QueueFull,
    ServiceUnreachable,
    UnknownEpisode,
    UnknownPolicy,
    UnreadableAnswer,
)

OBSERVATION = np.array([0.3, -0.7, 0.1], np.float32)


def test_an_episode_is_played_from_start_to_end(connect, url, service, proposed):
    client = connect(url)
    episode = client.start("drift", 7.5, ttl_seconds=60, labels={"robot": "left"})
    for step in range(3):
        answer = episode.act(OBSERVATION, reward=1.5 if step else None)
        assert (answer.step, answer.committed_step, answer.replayed) == (step, step, False)
        assert answer.action == proposed([float(number) for number in OBSERVATION], step)
    assert episode.state().expected_step == 3
    summary = episode.end(1.5, terminated=True, success=True)
    assert (summary.length, summary.episode_return, summary.terminated, summary.success) == (3, 4.5, True, True)
    assert service.episodes[episode.episode_id].start == {
        "policy": "drift",
        "target_return": 7.5,
        "ttl_seconds": 60,
        "labels": {"robot": "left"},
    }


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_many_episodes_are_played_in_one_request_each_step(connect, url, service, proposed, encoding):
    client = connect(url, encoding=encoding)
    episodes = [client.start(target_return=float(number)) for number in range(5)]
    for step in range(3):
        reward = 1.0 if step else None
        answers = client.act_together([NextStep(episode, OBSERVATION, reward) for episode in episodes])
        assert [answer.episode_id for answer in answers] == [episode.episode_id for episode in episodes]
        for answer in answers:
            assert (answer.step, answer.action) == (step, proposed(OBSERVATION.astype(float).tolist(), step))
    assert service.requests.count("POST /act") == 3
    assert {episode.end(1.0).episode_return for episode in episodes} == {3.0}


def test_an_episode_is_played_in_msgpack(connect, url, proposed):
    episode = connect(url, encoding="msgpack").start("drift", labels={"robot": "left"})
    answer = episode.act(OBSERVATION)
    assert answer.action == proposed(OBSERVATION.astype(float).tolist(), 0)
    assert episode.act(OBSERVATION, 1.0, np.array([0.5, 0.25])).committed_step == 1
    assert episode.end(1.0, terminated=True).length == 2


def test_an_encoding_that_there_is_not_is_named(connect, url):
    with pytest.raises(ConfigError, match="encoding 'xml' is neither json nor msgpack"):
        connect(url, encoding="xml")


def test_items_that_fail_for_good_are_returned_and_the_others_sent_again(connect, url, service):
    client = connect(url)
    episodes = [client.start() for _ in range(4)]
    service.item_refusals.extend(
        [QueueFull("full", retry_after_ms=1), ContentChanged("changed"), Draining("going")]
    )
    outcomes = client.act_together([NextStep(episode, OBSERVATION) for episode in episodes])
    assert [getattr(outcome, "committed_step", None) for outcome in outcomes] == [0, None, 0, 0]
    assert isinstance(outcomes[1], ContentChanged)
    assert [episode.step for episode in episodes] == [1, 0, 1, 1]
    assert service.requests.count("POST /act") == 2


def test_lost_answers_to_many_lose_and_double_no_step(connect, url, service, lossy):
    client = connect(url, transport=lossy(2, "/act"))
    episodes = [client.start() for _ in range(3)]
    answers = client.act_together([NextStep(episode, OBSERVATION) for episode in episodes])
    assert [answer.replayed for answer in answers] == [True] * 3
    assert [len(episode.steps) for episode in service.episodes.values()] == [1] * 3


def test_every_item_of_a_request_that_never_succeeds_says_so(connect, url, service):
    client = connect(url, deadline_seconds=0.5)
    episodes = [client.start() for _ in range(2)]
    service.refuse(Draining("going", retry_after_ms=1000))
    for outcome in client.act_together([NextStep(episode, OBSERVATION) for episode in episodes]):
        assert isinstance(outcome, Draining)
        assert "still so after" in str(outcome)


def test_ids_are_random_and_long(connect, url):
    client = connect(url)
    first, second = client.start().episode_id, client.start().episode_id
    assert first != second
    assert len(first) >= 22  # 128 bits in base 64


def test_policies_are_described(connect, url):
    client = connect(url)
    assert [policy.name for policy in client.policies()] == ["drift"]
    assert client.policy("drift").target_returns == [9.0, 5.0]


def test_a_lost_answer_leads_to_the_same_step_again_and_to_no_second_one(connect, url, service, lossy):
    client = connect(url, transport=lossy(2, "/act"))
    episode = client.start()
    answer = episode.act(OBSERVATION)
    assert answer.replayed
    assert episode.act(OBSERVATION, 1.0).step == 1
    assert [step["step"] for step in service.episodes[episode.episode_id].steps] == [0, 1]
    assert len([request for request in service.requests if request.endswith("/act")]) == 4


def test_a_lost_start_leaves_no_orphan(connect, url, service, lossy):
    client = connect(url, transport=lossy(1))
    episode = client.start()
    assert list(service.episodes) == [episode.episode_id]


def test_a_lost_end_gives_the_same_summary(connect, url, lossy):
    client = connect(url, transport=lossy(1, "/end"))
    episode = client.start()
    episode.act(OBSERVATION)
    assert episode.end(2.0, truncated=True).episode_return == 2.0


@pytest.mark.parametrize("error", [Draining("shutting down"), QueueFull("full")])
def test_what_the_service_calls_retryable_is_sent_again(connect, url, service, error):
    client = connect(url)
    episode = client.start()
    service.refuse(error, times=2)
    assert episode.act(OBSERVATION).step == 0


def test_the_service_says_when_to_come_back(connect, url, service):
    client = connect(url)
    episode = client.start()
    service.refuse(QueueFull("full", retry_after_ms=300))
    began = time.monotonic()
    episode.act(OBSERVATION)
    assert time.monotonic() - began >= 0.3


def test_the_header_says_when_to_come_back(connect, url, service):
    client = connect(url)
    service.refuse(QueueFull("full"), headers={"Retry-After": "60"})
    with pytest.raises(QueueFull, match=r"full \(still so after \d\.\d s and 1 try\)"):
        client.policies()


def test_a_proxys_bad_gateway_is_sat_out(connect, url, service):
    client = connect(url)
    service.answer(502, "<html>Bad gateway</html>")
    assert client.policies()


@pytest.mark.parametrize(("status", "error"), [(200, UnreadableAnswer), (500, InternalError)])
def test_pages_that_time_does_not_heal_are_reported_at_once(connect, url, service, status, error):
    client = connect(url)
    service.answer(status, "<html>?</html>")
    with pytest.raises(error):
        client.policies()
    assert len(service.requests) == 1


def test_a_changed_request_is_not_tried_again(connect, url, service):
    client = connect(url)
    episode = client.start()
    episode.act(OBSERVATION)
    service.refuse(ContentChanged("step 1 was recorded with other content"))
    before = len(service.requests)
    with pytest.raises(ContentChanged):
        episode.act(OBSERVATION, 1.0)
    assert len(service.requests) == before + 1


def test_a_failed_step_stays_the_next_one(connect, url, service):
    client = connect(url, deadline_seconds=1.0)
    episode = client.start()
    service.refuse(Draining("shutting down"), times=50)
    with pytest.raises(Draining, match="still so after"):
        episode.act(OBSERVATION)
    service.refusals.clear()
    assert episode.act(OBSERVATION).step == 0


def test_one_deadline_holds_for_all_tries_of_a_call(connect, url, service):
    client = connect(url, deadline_seconds=1.0)
    service.refuse(Draining("shutting down"), times=1000)
    with pytest.raises(Draining, match=r"shutting down \(still so after [0-4]\.\d s and \d+ tries\)"):
        client.policies()


def test_a_service_that_hangs_is_given_up_at_the_deadline(connect, url, service):
    client = connect(url, deadline_seconds=1.0)
    episode = client.start()
    service.delay_seconds = 6.0
    began = time.monotonic()
    with pytest.raises(ServiceUnreachable, match=rf"no answer from {url} after [0-4]\.\d s and 1 try: "):
        episode.act(OBSERVATION)
    assert time.monotonic() - began < 6.0


def test_an_unreachable_service_is_named_with_the_time_spent(connect, dead_url):
    client = connect(dead_url, deadline_seconds=1.0)
    with pytest.raises(ServiceUnreachable) as raised:
        client.policies()
    assert re.match(rf"no answer from {dead_url} after \d\.\d s and \d+ tries: ", str(raised.value))


def test_a_step_another_client_took_is_an_ordinary_conflict(connect, url):
    client = connect(url)
    episode = client.start()
    other = client.resume(episode.episode_id)
    for step in range(3):
        other.act(OBSERVATION, 1.0 if step else None)
    episode.act(OBSERVATION)
    other.act(OBSERVATION, 1.0)
    with pytest.raises(ContentChanged):
        episode.act(OBSERVATION, 2.0)


def test_an_episode_goes_on_after_its_client_was_started_again(connect, url):
    episode_id = connect(url).start().episode_id
    first = connect(url).resume(episode_id)
    assert first.act(OBSERVATION).step == 0
    second = connect(url).resume(episode_id)
    assert (second.step, second.act(OBSERVATION, 1.0).step) == (1, 1)


def test_deleting_twice_is_harmless(connect, url, service):
    client = connect(url)
    episode = client.start()
    episode.delete()
    episode.delete()
    assert service.episodes == {}
    with pytest.raises(UnknownEpisode, match=f"episode {episode.episode_id} is unknown"):
        episode.state()


def test_an_ended_episode_takes_no_step(connect, url):
    episode = connect(url).start()
    episode.act(OBSERVATION)
    episode.end(0.0, terminated=True)
    with pytest.raises(EpisodeEnded):
        episode.act(OBSERVATION, 1.0)


def test_an_unknown_policy_is_named(connect, url):
    with pytest.raises(UnknownPolicy, match="policy 'nobody' is not served"):
        connect(url).start("nobody")


@pytest.mark.parametrize("kind", [PolicyClient, AsyncPolicyClient])
def test_nothing_is_opened_before_the_with_block(kind):
    policies = kind("http://nobody.invalid").policies
    run = asyncio.run if inspect.iscoroutinefunction(policies) else list
    with pytest.raises(RuntimeError, match="use it in a `with` block"):
        run(policies())


@pytest.mark.parametrize("kind", [PolicyClient, AsyncPolicyClient])
@pytest.mark.parametrize("address", ["localhost:8000", "redis://localhost", "http://", "http://h:port"])
def test_what_is_no_http_address_is_refused(kind, address):
    with pytest.raises(ConfigError, match=f"url '{address}'"):
        kind(address)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_deadline_is_positive(seconds):
    with pytest.raises(ConfigError, match="a deadline of"):
        PolicyClient("http://localhost", deadline_seconds=seconds)


@pytest.mark.parametrize(("blocking", "awaited"), [(PolicyClient, AsyncPolicyClient), (Episode, AsyncEpisode)])
def test_the_two_kinds_have_one_surface(blocking, awaited):
    def surface(kind):
        methods = inspect.getmembers(kind, inspect.isfunction)
        return {
            name: [
                str(parameter).replace("Async", "") for parameter in inspect.signature(method).parameters.values()
            ]
            for name, method in methods
            if not name.startswith("_")
        }

    assert surface(blocking) == surface(awaited)


def test_a_client_in_the_app_needs_no_network(service):
    portal_context = start_blocking_portal()
    with portal_context as portal:
        client = AsyncPolicyClient("http://app", transport=httpx.ASGITransport(service.app))
        with portal.wrap_async_context_manager(client) as opened:
            assert portal.call(opened.policies)[0].name == "drift"


@pytest.mark.parametrize("together", [False, True])
def test_an_answer_of_another_request_is_no_answer(connect, url, service, together):
    """As a proxy gives it that mixes up its connections, or keeps answers that are nobody's but once."""
    client = connect(url)
    episode, other = client.start(), client.start()
    strangers = [episode.act(OBSERVATION), other.act(OBSERVATION), other.act(OBSERVATION)]
    for stranger in strangers:
        body = stranger.model_dump()
        body = {"items": [{"status": 200, "body": body}]} if together else body
        service.refusals.append(lambda body=body: JSONResponse(body))
        words = f"step 1 of episode {episode.episode_id} was answered with step {stranger.step} of episode"
        if together:
            [error] = client.act_together([NextStep(episode, OBSERVATION, 0.5)])
            assert (type(error), str(error).startswith(words)) == (UnreadableAnswer, True)
        else:
            with pytest.raises(UnreadableAnswer, match=words):
                episode.act(OBSERVATION, 0.5)
    assert episode.act(OBSERVATION, 0.5).step == 1
