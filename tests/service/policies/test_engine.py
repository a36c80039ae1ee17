"""The engine's device: the one the machine has, or the one named, refused where it is not there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamo.errors import ConfigError
from service.callers import NO_LIMITS
from service.policies.engine import Engine, default_threads
from service.settings import Settings

pytestmark = pytest.mark.anyio

GPU = torch.cuda.is_available()


async def test_the_default_device_is_the_best_one_the_machine_has(checkpoint_directory, policy, monkeypatch):
    monkeypatch.delenv("LAMO_DEVICE", raising=False)
    settings = Settings(policies=checkpoint_directory.parent)
    engine = Engine(settings.policies, device=settings.device, batch_limit=2)
    await engine.open()
    served = engine.find("small", NO_LIMITS)
    window = policy.begin(20.0).observe(np.zeros(5, np.float32))
    assert engine.device == ("cuda" if GPU else "cpu")
    assert served.policy.device.type == engine.device
    np.testing.assert_allclose(
        await engine.infer(served, [window], ["a"]), policy.propose([window]), rtol=1e-4, atol=1e-5
    )
    await engine.close()


@pytest.mark.skipif(GPU, reason="there is a GPU")
async def test_a_gpu_is_chosen_where_torch_says_there_is_one(checkpoint_directory, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    engine = Engine(checkpoint_directory.parent, device="auto")
    with pytest.raises(ConfigError, match="device 'cuda' cannot be used"):
        await engine.open()
    await engine.close()


async def test_a_device_that_is_not_there_is_refused_by_name(checkpoint_directory):
    engine = Engine(checkpoint_directory.parent, device="cuda:99")
    with pytest.raises(ConfigError, match="device 'cuda:99' cannot be used"):
        await engine.open()
    await engine.close()


async def test_a_small_network_leaves_the_event_loop_a_core_and_a_large_one_takes_them_all(checkpoint_directory):
    assert [default_threads(900_000, cores) for cores in (1, 2, 16)] == [1, 1, 15]
    assert [default_threads(85_000_000, cores) for cores in (1, 2, 16)] == [1, 2, 16]
    engine = Engine(checkpoint_directory.parent, device="cpu", batch_limit=2, threads=3)
    await engine.open()
    assert await engine._in_thread(torch.get_num_threads) == 3
    assert torch.get_num_threads() == 1, "only the engine's own thread is set"
    await engine.close()
