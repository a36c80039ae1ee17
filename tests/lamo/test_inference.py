"""The network laid out for acting computes what the plain model computes."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lamo.batch import Scaling
from lamo.config import PolicyConfig
from lamo.inference import InferenceNetwork, Memory
from lamo.linear import PACKED_WEIGHTS, computing_dtype, joined
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.packed import fill_rows, fill_tokens, pack, step_rows
from lamo.window import EpisodeWindow


def windows_of(config: PolicyConfig, lengths: list[int], seed: int = 0) -> list[EpisodeWindow]:
    generator = np.random.default_rng(seed)
    windows = []
    for length in lengths:
        window = EpisodeWindow.begin(
            20.0,
            context_length=config.context_length,
            hop=1,
            observation_shape=config.observation.shape,
            action_dim=config.action.size,
        )
        for _ in range(length):
            window = window.observe(generator.normal(size=config.observation.size).astype(np.float32), 0.5)
            window = window.propose(generator.uniform(-0.5, 0.5, config.action.size).astype(np.float32))
        windows.append(window)
    return windows


def float64(config: PolicyConfig, normalization: Normalization) -> tuple[LamoModel, Scaling]:
    torch.manual_seed(3)
    model = LamoModel(config).double().eval().requires_grad_(False)
    return model, Scaling(config, normalization, dtype=torch.float64)


def memory_of(config: PolicyConfig, slots: int) -> Memory:
    assert config.trunk is not None
    tokens = fill_tokens(config.context_length)
    size = 2 * config.trunk.n_layer * tokens * config.trunk.n_embd * 8
    return Memory(
        config.trunk, tokens=tokens, limit_bytes=slots * size, device=torch.device("cpu"), dtype=torch.float64
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"embedding": "linear"},
        {"timestep_order": "before_norm"},
        {"trunk": {"activation_function": "relu", "scale_attn_by_inverse_layer_idx": True}},
        {"trunk": {"scale_attn_weights": False, "n_layer": 1}},
    ],
)
def test_whole_windows_equal_the_plain_model(
    config: PolicyConfig, normalization: Normalization, change: dict[str, Any]
) -> None:
    assert config.trunk is not None
    values = change | {"trunk": dataclasses.replace(config.trunk, **change.get("trunk", {}))}
    changed = dataclasses.replace(config, **values)
    model, scaling = float64(changed, normalization)
    network, memory = InferenceNetwork(model), memory_of(changed, 0)
    for lengths in ([1], [4, 4, 4], [6, 6]):
        windows = windows_of(changed, lengths)
        actions = network(pack(scaling, [fill_rows(windows, None)]), memory)
        torch.testing.assert_close(actions, model.last_actions(scaling.collate(windows)), rtol=0, atol=1e-9)


def test_groups_of_rows_in_one_pass_equal_each_alone(config: PolicyConfig, normalization: Normalization) -> None:
    model, scaling = float64(config, normalization)
    network, memory = InferenceNetwork(model), memory_of(config, 8)
    windows = windows_of(config, [2, 4, 5])
    before = [dataclasses.replace(window, step=window.step - 1) for window in windows]
    for slot, (window, length) in enumerate(zip(windows, [2, 4, 5], strict=True)):
        earlier = dataclasses.replace(
            before[slot],
            returns_to_go=window.returns_to_go[: length - 1],
            observations=window.observations[: length - 1],
            actions=window.actions[: length - 1],
        )
        network(pack(scaling, [fill_rows([earlier], np.array([2 * slot]))]), memory)
    fresh = windows_of(config, [3, 3], seed=1)
    parts = [
        step_rows(windows, np.array([0, 2, 4])),
        fill_rows(fresh, np.array([1, 3])),
        fill_rows(windows_of(config, [6], seed=2), None),
    ]
    together = network(pack(scaling, parts), memory)
    whole = [model.last_actions(scaling.collate([window])) for window in [*windows, *fresh]]
    whole.append(model.last_actions(scaling.collate(windows_of(config, [6], seed=2))))
    torch.testing.assert_close(together, torch.cat(whole), rtol=0, atol=1e-9)


def test_padding_changes_nothing_and_stays_out_of_what_is_remembered(
    config: PolicyConfig, normalization: Normalization
) -> None:
    model, scaling = float64(config, normalization)
    network, memory = InferenceNetwork(model), memory_of(config, 3)
    windows = windows_of(config, [1, 3, 5])
    padded = network(pack(scaling, [fill_rows(windows, np.arange(3), timesteps=6)]), memory)
    torch.testing.assert_close(padded, model.last_actions(scaling.collate(windows)), rtol=0, atol=1e-9)
    generator = np.random.default_rng(4)
    longer = [window.observe(generator.normal(size=5).astype(np.float32), 1.0) for window in windows]
    stepped = network(pack(scaling, [step_rows(longer, np.arange(3))]), memory)
    torch.testing.assert_close(stepped, model.last_actions(scaling.collate(longer)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [8, int(PACKED_WEIGHTS**0.5)])
@pytest.mark.parametrize("tokens", [1, 3, 50])
def test_a_map_of_any_size_is_the_same_map(size: int, tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = nn.Linear(size, size), nn.Linear(size, 3)
    x = torch.randn(tokens, size, generator=generator)
    with torch.inference_mode():
        expected = torch.cat((first(x), second(x)), dim=-1)
        torch.testing.assert_close(joined(first, second)(x), expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_computed_in_float32_where_a_cpu_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for has, expected in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert computing_dtype(torch.device("cpu"), torch.bfloat16) is expected
        assert computing_dtype(torch.device("cuda"), torch.bfloat16) is torch.bfloat16
        assert computing_dtype(torch.device("cpu"), torch.float32) is torch.float32


def test_only_on_a_cpu_is_the_network_compiled(config: PolicyConfig, model: LamoModel) -> None:
    elsewhere = LamoModel(config).to("meta")
    compiled = [isinstance(InferenceNetwork(each)._network, torch.jit.ScriptModule) for each in (model, elsewhere)]
    assert compiled == [sys.version_info < (3, 14), False]
