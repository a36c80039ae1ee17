"""The window is the slow obvious list of everything that happened, cut where the hop says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamo.window import EpisodeWindow, Timestep, window_start

LOW, HIGH = np.array([-1, -1], np.float32), np.array([1, 1], np.float32)


def begin(context_length: int, hop: int, *, delayed_reward: bool = False) -> EpisodeWindow:
    return EpisodeWindow.begin(
        20.0,
        context_length=context_length,
        hop=hop,
        observation_shape=(3,),
        action_dim=2,
        delayed_reward=delayed_reward,
    )


@given(st.integers(1, 25), st.data())
def test_the_start_follows_the_design(context_length: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, context_length))
    starts = [window_start(t, context_length, hop) for t in range(120)]
    for t, start in enumerate(starts):
        expected = 0 if t < context_length else hop * math.ceil((t - context_length + 1) / hop)
        assert start == expected
        if t >= context_length:
            assert context_length - hop + 1 <= t - start + 1 <= context_length
    assert starts == sorted(starts)
    if hop == 1:
        assert starts == [max(0, t - context_length + 1) for t in range(120)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 8), st.data())
def test_a_live_window_a_resumed_one_and_the_obvious_list_agree(context_length: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, context_length))
    steps = data.draw(st.integers(1, 30))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    window, records = begin(context_length, hop), []
    observations, actions, returns_to_go = [], [], [20.0]
    for t in range(steps):
        observation = generator.normal(size=3).astype(np.float32)
        reward = float(generator.normal()) if t else 0.0
        executed = generator.normal(size=2).astype(np.float32) if t and generator.random() < 0.3 else None
        window = window.observe(observation, reward, executed)
        proposed = (3 * generator.normal(size=2)).astype(np.float32)
        if t:
            returns_to_go.append(returns_to_go[-1] - reward)
            if executed is not None:
                actions[-1] = executed
        observations.append(observation)

        start = window_start(t, context_length, hop)
        assert (window.start, window.step) == (start, t)
        np.testing.assert_array_equal(window.observations, np.stack(observations[start:]))
        np.testing.assert_array_equal(window.returns_to_go, returns_to_go[start:])
        np.testing.assert_array_equal(window.actions[:-1], np.array(actions[start:]).reshape(-1, 2))
        np.testing.assert_array_equal(window.actions[-1], np.zeros(2))

        window = window.propose(np.clip(proposed, LOW, HIGH))
        actions.append(np.clip(proposed, LOW, HIGH))
        records.append(Timestep(t, reward, returns_to_go[-1], executed, observation, proposed))
        resumed = begin(context_length, hop).resume(records[-context_length:], LOW, HIGH)
        for name in ("step", "return_to_go"):
            assert getattr(resumed, name) == getattr(window, name)
        for name in ("returns_to_go", "observations", "actions"):
            left, right = getattr(resumed, name), getattr(window, name)
            assert left.tobytes() == right.tobytes(), name
            assert left.dtype == right.dtype


def test_a_window_is_a_value() -> None:
    window = begin(4, 1).observe(np.ones(3, np.float32)).propose(np.ones(2, np.float32))
    before = window.actions.copy()
    window.observe(np.zeros(3, np.float32), 1.0, np.full(2, 7, np.float32)).propose(np.zeros(2, np.float32))
    np.testing.assert_array_equal(window.actions, before)
    assert window.step == 0


def test_the_first_reward_is_not_taken_off_the_target() -> None:
    assert begin(4, 1).observe(np.ones(3, np.float32), reward=5.0).return_to_go == 20.0


def test_delayed_rewards_are_not_taken_off_the_target_live_or_resumed() -> None:
    window = begin(2, 1, delayed_reward=True)
    records = []
    for step in range(4):
        observation = np.full(3, step, np.float32)
        window = window.observe(observation, reward=5.0)
        records.append(Timestep(step, 5.0, window.return_to_go, None, observation, np.zeros(2, np.float32)))
        window = window.propose(np.zeros(2, np.float32))
    assert window.returns_to_go.tolist() == [20.0, 20.0]
    resumed = begin(2, 1, delayed_reward=True).resume(records[-2:], LOW, HIGH)
    assert resumed.observe(np.ones(3, np.float32), reward=5.0).returns_to_go.tolist() == [20.0, 20.0]


@pytest.mark.parametrize("rewards", [[0.1] * 10, [1e-9, 1e9, 0.3]])
def test_returns_to_go_are_float64(rewards: list[float]) -> None:
    window, expected = begin(20, 1).observe(np.ones(3, np.float32)), 20.0
    for reward in rewards:
        window = window.observe(np.ones(3, np.float32), reward)
        expected -= reward
    assert window.return_to_go == expected
    assert window.returns_to_go.dtype == np.float64
