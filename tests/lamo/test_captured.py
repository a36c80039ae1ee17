"""Passes of fixed shape, as they are captured for a GPU: padded rows and windows change no action."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lamo.captured import CapturedPasses, buckets
from lamo.config import PolicyConfig
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.passes import Passes
from lamo.policy import SLOT_BYTES, Policy
from lamo.window import EpisodeWindow


@pytest.mark.parametrize(
    ("largest", "expected"), [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (64, [1, 2, 4, 8, 16, 32, 64])]
)
def test_every_power_of_two_and_the_largest_batch_are_captured(largest: int, expected: list[int]) -> None:
    assert buckets(largest) == expected


def play(
    policy: Policy, hop: int, episodes: int, steps: int
) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Actions of episodes that begin one after the other, on scripted observations."""
    windows: dict[str, EpisodeWindow] = {}
    actions = []
    for step in range(steps):
        for name in [f"episode-{index}" for index in range(min(step + 1, episodes))]:
            windows.setdefault(name, policy.begin(20.0, hop))
        seen = [
            window.observe(np.full(5, (step + index) % 7 / 3, np.float32), 0.25)
            for index, window in enumerate(windows.values())
        ]
        proposed = policy.propose(seen, list(windows))
        actions.append(proposed)
        for name, window, action in zip(list(windows), seen, proposed, strict=True):
            windows[name] = window.propose(policy.clip(action))
    return actions


@pytest.mark.parametrize("hop", [1, 3, 6])
@pytest.mark.parametrize("slot_bytes", [0, SLOT_BYTES])
def test_fixed_shapes_act_as_exact_ones(
    config: PolicyConfig, normalization: Normalization, model: LamoModel, hop: int, slot_bytes: int
) -> None:
    exact, fixed = (Policy(config, normalization, model, slot_bytes=slot_bytes) for _ in range(2))
    passes = fixed._proposing
    assert isinstance(passes, Passes)
    with torch.inference_mode():
        passes._captured = CapturedPasses(passes._network, passes._memory, passes._scaling, config, largest=3)
        assert len(list(passes._captured.capture())) == 6  # steps and fills of 3, 2 and 1 rows
    expected = play(exact, hop, episodes=5, steps=14)
    for got, wanted in zip(play(fixed, hop, episodes=5, steps=14), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_graphs_on_a_gpu_act_as_the_cpu_does(
    config: PolicyConfig, normalization: Normalization, model: LamoModel, dtype: str
) -> None:
    copied = LamoModel(config)
    copied.load_state_dict(model.state_dict())
    on_gpu = Policy(config, normalization, copied, device="cuda", dtype=dtype, slot_bytes=SLOT_BYTES)
    on_gpu.warm_up(4)
    on_cpu = Policy(config, normalization, model)
    tolerance = 1e-3 if dtype == "float32" else 0.1
    for got, wanted in zip(play(on_gpu, 3, 5, 14), play(on_cpu, 3, 5, 14), strict=True):
        np.testing.assert_allclose(got, wanted, atol=tolerance)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_warming_up_changes_no_bit_of_a_reproducible_policy(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    def reproducible() -> Policy:
        copied = LamoModel(config)
        copied.load_state_dict(model.state_dict())
        return Policy(config, normalization, copied, device="cuda", reproducible=True)

    in_process, served = reproducible(), reproducible()
    served.warm_up(4)
    for got, wanted in zip(play(served, 3, 5, 14), play(in_process, 3, 5, 14), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_a_policy_on_another_than_the_first_gpu_is_captured_there(
    config: PolicyConfig, normalization: Normalization, model: LamoModel
) -> None:
    copied = LamoModel(config)
    copied.load_state_dict(model.state_dict())
    second = Policy(config, normalization, copied, device="cuda:1", slot_bytes=SLOT_BYTES)
    second.warm_up(4)
    on_cpu = Policy(config, normalization, model)
    for got, wanted in zip(play(second, 3, 5, 14), play(on_cpu, 3, 5, 14), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_windows_of_one_timestep_have_no_steps_to_capture(
    config: PolicyConfig, normalization: Normalization
) -> None:
    short = dataclasses.replace(config, context_length=1, hop=1)
    policy = Policy(short, normalization, LamoModel(short), slot_bytes=SLOT_BYTES)
    passes = policy._proposing
    assert isinstance(passes, Passes)
    with torch.inference_mode():
        fixed = CapturedPasses(passes._network, passes._memory, passes._scaling, short, largest=3)
        assert len(list(fixed.capture())) == 3
        for captured in fixed._passes.values():
            captured._forward()  # as warming up does: a step would write beyond its slot
