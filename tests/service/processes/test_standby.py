"""The process that waits to become an engine: whether it lives is known once it is needed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest

from service.processes.child import Child, received
from service.processes.standby import Standby

pytestmark = pytest.mark.anyio

HANG_SECONDS = 2.0


def wait_and_load(supervisor: Connection) -> None:
    """As an engine does: the order is received, and loading, for ever here, gives no further sign."""
    assert supervisor.recv() == "an order"
    received(supervisor)
    supervisor.poll(None)


@pytest.fixture
def standby() -> Iterator[Standby]:
    standby = Standby(wait_and_load, kept=True)
    standby.prepare()
    yield standby
    standby.dismiss()


async def hangs(child: Child) -> bool:
    try:
        await asyncio.wait_for(child.silent(HANG_SECONDS), 2 * HANG_SECONDS)
    except TimeoutError:
        return False
    finally:
        child.kill()
        await child.ended()
    return True


async def test_one_that_is_frozen_is_noticed_when_it_does_not_take_its_order(standby: Standby) -> None:
    await asyncio.sleep(1)  # it waits
    (process,) = (child for child in multiprocessing.active_children() if child.name == "standby engine")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    child = standby.take("engine 0", "an order")
    assert child.pid == process.pid
    assert await hangs(child)


async def test_one_that_loads_is_given_its_time(standby: Standby) -> None:
    assert not await hangs(standby.take("engine 0", "an order"))
