"""Standing windows: keys and values kept in slots never change an action, whatever happens to an episode."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lamo.config import PolicyConfig
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.passes import Passes, group_rows
from lamo.policy import SLOT_BYTES, Policy
from lamo.slots import Place, Slots
from lamo.window import EpisodeWindow

HUGE = np.full(5, 3e38, np.float32)
"""Finite in float32, but not after normalisation: the policy answers NaN."""


class Player:
    """Plays episodes with slots and holds every action against the whole window computed anew."""

    def __init__(self, policy: Policy, hop: int, seed: int) -> None:
        self.policy, self.hop = policy, hop
        self.generator = np.random.default_rng(seed)
        self.windows: dict[str, EpisodeWindow] = {}

    def round(self, names: list[str], *, committed: bool = True, executed: bool = False) -> None:
        windows = [self.observe(name, executed=executed) for name in names]
        actions = self.policy.propose(windows, names)
        np.testing.assert_allclose(actions, self.policy.propose(windows), rtol=1e-4, atol=1e-5)
        if committed:
            for name, window, action in zip(names, windows, actions, strict=True):
                self.windows[name] = window.propose(self.policy.clip(action))

    def observe(self, name: str, *, executed: bool) -> EpisodeWindow:
        window = self.windows.get(name)
        if window is None or window.step + 1 == self.policy.config.max_timesteps:
            window = self.policy.begin(float(self.generator.normal(20)), self.hop)
        replaced = self.generator.uniform(-0.5, 0.5, 2).astype(np.float32) if executed else None
        observation = self.generator.normal(size=5).astype(np.float32)
        return window.observe(observation, float(self.generator.normal()), replaced)


def slot_size(policy: Policy) -> int:
    trunk = policy.config.trunk
    assert trunk is not None
    return 2 * trunk.n_layer * (3 * policy.config.context_length - 1) * trunk.n_embd * 4


def policy_with(config: PolicyConfig, normalization: Normalization, model: LamoModel, slots: int) -> Policy:
    size = slot_size(Policy(config, normalization, model))
    return Policy(config, normalization, model, slot_bytes=slots * size + size // 2)


@pytest.mark.parametrize("hop", range(1, 7))
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_every_step_of_every_hop_equals_the_whole_window(
    config: PolicyConfig, normalization: Normalization, model: LamoModel, hop: int, slots: int
) -> None:
    player = Player(policy_with(config, normalization, model, slots), hop, seed=hop)
    names = [f"episode-{index}" for index in range(4)]
    for index, name in enumerate(names):  # so that all stand at another step
        for _ in range(index):
            player.round([name])
    for _ in range(25):
        player.round(names)


EVENTS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6, unique=True),
        st.sampled_from(["play", "fail", "execute", "restart", "forget"]),
    ),
    min_size=5,
    max_size=40,
)


@given(events=EVENTS, hop=st.integers(1, 6), slots=st.integers(1, 6), order=st.sampled_from(["after", "before"]))
@settings(max_examples=40, deadline=None)
def test_no_mix_of_batches_failures_and_evictions_changes_an_action(
    config: PolicyConfig,
    normalization: Normalization,
    model: LamoModel,
    events: list[tuple[list[str], str]],
    hop: int,
    slots: int,
    order: str,
) -> None:
    chosen = dataclasses.replace(config, timestep_order=f"{order}_norm")
    other = LamoModel(chosen)
    other.load_state_dict(model.state_dict())
    player = Player(policy_with(chosen, normalization, other.eval(), slots), hop, seed=3)
    for names, event in events:
        if event == "restart":
            for name in names:
                player.windows.pop(name, None)
        player.round(names, committed=event != "fail", executed=event == "execute")
        if event == "forget":  # another replica took a step meanwhile
            for name in names:
                if name in player.windows:
                    window = player.windows[name].observe(np.ones(5, np.float32), 0.5)
                    if window.step + 1 < chosen.max_timesteps:
                        player.windows[name] = window.propose(np.full(2, 0.25, np.float32))


def test_a_window_that_stands_still_costs_three_tokens(policy: Policy) -> None:
    counted = []
    places: list[list[Place | None]] = []
    slots = Slots(2)
    window = policy.begin(20.0, hop=3)
    for step in range(9):
        window = window.observe(np.full(5, step, np.float32), 1.0)
        placed = slots.place(["a"], [window])
        counted.append(group_rows([window], placed)[0].rows.tokens)
        slots.keep(placed, [window])
        places.append(placed)
        window = window.propose(np.zeros(2, np.float32))
    assert counted == [2, 3, 3, 3, 3, 3, 11, 3, 3]  # K = 6: at step 6 the window starts at 3 and holds 4 timesteps
    assert all(place is not None and place.slot == places[0][0].slot for (place,) in places)  # type: ignore[union-attr]


def test_a_sliding_window_gives_its_slot_back_when_it_begins_to_slide(policy: Policy) -> None:
    slots = Slots(1)
    window = policy.begin(20.0, hop=1)
    held = []
    for step in range(8):
        window = window.observe(np.full(5, step, np.float32))
        [place] = slots.place(["a"], [window])
        held.append(None if place is None else place.held)
        slots.keep([place], [window])
        window = window.propose(np.zeros(2, np.float32))
    assert held == [False, True, True, True, True, True, None, None]
    assert slots.place(["b"], [policy.begin(1.0).observe(np.zeros(5, np.float32))]) == [Place(0, held=False)]


def test_the_least_recently_used_window_is_given_up_but_none_of_the_same_batch(policy: Policy) -> None:
    slots = Slots(2)
    fresh = policy.begin(20.0).observe(np.zeros(5, np.float32))
    for name in ("a", "b", "a"):
        slots.keep(slots.place([name], [fresh]), [fresh])
    assert slots.place(["c"], [fresh]) == [Place(0, held=False)]  # b's
    places = slots.place(["d", "e", "f"], [fresh] * 3)
    assert [place is None for place in places] == [False, False, True]


def test_what_is_computed_is_void_until_it_is_kept(policy: Policy) -> None:
    slots = Slots(1)
    first = policy.begin(20.0).observe(np.zeros(5, np.float32))
    second = first.propose(np.zeros(2, np.float32)).observe(np.ones(5, np.float32))
    slots.keep(slots.place(["a"], [first]), [first])
    assert slots.place(["a"], [second]) == [Place(0, held=True)]
    assert slots.place(["a"], [second]) == [Place(0, held=False)]  # the pass between them failed


def test_an_action_that_is_not_finite_spoils_no_other_episode_that_gets_its_slot(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    policy = policy_with(config, normalization, model, 2)
    broken, sound = policy.begin(20.0).observe(HUGE), policy.begin(20.0).observe(np.ones(5, np.float32))
    actions = policy.propose([broken, sound], ["broken", "sound"])
    assert [bool(np.isfinite(action).all()) for action in actions] == [False, True]
    later = policy.begin(12.0)
    for _ in range(3):
        later = later.observe(np.ones(5, np.float32)).propose(np.zeros(2, np.float32))
    later = later.observe(np.ones(5, np.float32))
    sound = sound.propose(actions[1]).observe(np.zeros(5, np.float32))
    together = policy.propose([later, sound], ["broken", "sound"])
    np.testing.assert_allclose(together, policy.propose([later, sound]), rtol=1e-4, atol=1e-5)


def test_reproducible_mode_keeps_nothing(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    exact = Policy(config, normalization, model, reproducible=True, slot_bytes=SLOT_BYTES)
    actions: list[NDArray[np.float32]] = []
    for names in (["a"], None):
        window = exact.begin(20.0)
        for step in range(12):
            window = window.observe(np.full(5, step / 3, np.float32), 0.5)
            actions.append(exact.propose([window], names))
            window = window.propose(exact.clip(actions[-1][0]))
    assert [action.tobytes() for action in actions[:12]] == [action.tobytes() for action in actions[12:]]


def test_a_policy_without_memory_computes_whole_windows(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    scaling = Policy(config, normalization, model)
    assert isinstance(scaling._proposing, Passes)
    assert scaling._proposing._memory.slots == 0
    player = Player(scaling, hop=3, seed=0)
    for _ in range(8):
        player.round(["a", "b"])
