"""Frames between workers and an engine: what goes in comes out, however the stream is cut."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from lamo.errors import StepConflict
from service.callers import Caller
from service.processes.frames import Frames, asked_step, step_values
from service.serving import AskedStep
from service.steps.contents import StepContent

pytestmark = pytest.mark.anyio


class Written(asyncio.Transport):
    """A transport that keeps each write."""

    def __init__(self):
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data):
        self.writes.append(data)

    def is_closing(self):
        return False


async def through(frames: list[object], cut: int) -> tuple[list[object], int]:
    """What comes out at the other end of a stream in pieces of `cut` bytes; and how many writes it took."""
    transport, came = Written(), []
    sender, receiver = Frames(came.append, lambda: None), Frames(came.append, lambda: None)
    sender.connection_made(transport)
    for frame in frames:
        sender.send(frame)
    await asyncio.sleep(0)
    stream = b"".join(transport.writes)
    for start in range(0, len(stream), cut):
        receiver.data_received(stream[start : start + cut])
    return came, len(transport.writes)


def asked(**fields) -> AskedStep:
    content = {
        "step": 3,
        "reward": 0.1,
        "executed_action": np.array([0.5, -0.25], np.float32),
        "observation": np.arange(12, dtype=np.uint8).reshape(2, 3, 2),
        "observed_at": 2**63 - 1,
    }
    return AskedStep(Caller("team", "r1", "t1"), "robot", StepContent(**content | fields), 12.5, math.inf)


@pytest.mark.parametrize(
    "fields", [{}, {"step": None, "reward": None, "executed_action": None, "observed_at": None}]
)
async def test_an_act_arrives_as_it_left(fields):
    sent = asked(**fields)
    [[_, _, values]], _ = await through([[1, "act", step_values(sent)]], cut=10_000)
    came = asked_step(values)
    assert (came.episode_id, came.received_at, came.deadline) == ("robot", 12.5, math.inf)
    for name in ("step", "reward", "observed_at"):
        assert getattr(came.content, name) == getattr(sent.content, name)
    for name in ("executed_action", "observation"):
        there, here = getattr(came.content, name), getattr(sent.content, name)
        assert there is here is None or (there.dtype == here.dtype and np.array_equal(there, here))
    assert came.content.digest(3) == sent.content.digest(3)


@pytest.mark.parametrize("cut", [1, 7, 10_000])
async def test_frames_of_one_turn_leave_in_one_write_and_come_out_one_by_one(cut):
    error = StepConflict("gap", committed_step=4, expected_step=5)
    came, writes = await through([[1, "state", ["robot"]], [2, error], [3, [error, {"a": 0.1}]]], cut)
    assert writes == 1
    assert came[0] == [1, "state", ["robot"]]
    for again in (came[1][1], came[2][1][0]):
        assert type(again) is StepConflict
        assert again.problem() == error.problem()
    assert came[2][1][1] == {"a": 0.1}
