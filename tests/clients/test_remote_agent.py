import asyncio

import numpy as np
import pytest

from clients.policy_client import AsyncPolicyClient
from clients.remote_agent import RemoteAgent
from lamo.errors import ContentChanged, UnknownPolicy
from lamo.rollout import Ending, EpisodePlan, Turn

EPISODES = 64


def turns(step, generator):
    return [
        Turn(index, step, generator.standard_normal(3).astype(np.float32), 0.5 * index if step else 0.0)
        for index in range(EPISODES)
    ]


def begin(agent):
    agent.start([(index, EpisodePlan(float(index), seed=index)) for index in range(EPISODES)])


def test_every_episode_gets_its_own_actions_bit_for_bit(url, service, proposed):
    generator = np.random.default_rng(3)
    with RemoteAgent(AsyncPolicyClient(url), "drift") as agent:
        begin(agent)
        for step in range(3):
            asked = turns(step, generator)
            actions = agent.act(asked)
            for turn, action in zip(asked, actions, strict=True):
                expected = np.array(proposed(turn.observation.astype(float).tolist(), step), np.float32)
                assert action.tobytes() == expected.tobytes()
        agent.end([Ending(index, 3, 1.0, terminated=True, truncated=False) for index in range(EPISODES)])
    targets = {int(episode.start["labels"]["seed"]): episode.target_return for episode in service.episodes.values()}
    assert targets == {index: float(index) for index in range(EPISODES)}
    returns = {episode.episode_return for episode in service.episodes.values()}
    assert returns == {2 * 0.5 * index + 1.0 for index in range(EPISODES)}
    assert {episode.hop for episode in agent.started.values()} == {2}


def test_the_turns_of_a_round_are_asked_at_the_same_time(url, service):
    service.delay_seconds = 0.5
    with RemoteAgent(AsyncPolicyClient(url), "drift") as agent:
        begin(agent)
        agent.act(turns(0, np.random.default_rng(3)))
    assert service.most_acting == EPISODES


def test_one_failing_turn_fails_the_round_with_its_own_error(url, service):
    with RemoteAgent(AsyncPolicyClient(url), "drift") as agent:
        begin(agent)
        service.refuse(ContentChanged("step 0 was recorded with other content"))
        with pytest.raises(ContentChanged, match="step 0 was recorded"):
            agent.act(turns(0, np.random.default_rng(3)))


def test_an_unknown_policy_is_named(url):
    with RemoteAgent(AsyncPolicyClient(url), "nobody") as agent, pytest.raises(UnknownPolicy, match="'nobody'"):
        begin(agent)


def test_it_works_where_an_event_loop_runs(url):
    async def notebook():
        with RemoteAgent(AsyncPolicyClient(url), "drift") as agent:
            begin(agent)
            return len(agent.started)

    assert asyncio.run(notebook()) == EPISODES


def test_nothing_is_opened_before_the_with_block():
    with pytest.raises(RuntimeError, match="use it in a `with` block"):
        begin(RemoteAgent(AsyncPolicyClient("http://nobody.invalid"), "drift"))
