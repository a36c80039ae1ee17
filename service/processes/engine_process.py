"""EngineProcess: one process that has the policies on one device and the episodes, and serves the HTTP workers."""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import shutil
import signal
import sys
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from lamo.errors import LamoError
from service.logs import log_to_stderr
from service.metrics import Metrics
from service.owners import audit
from service.processes.child import BEAT_SECONDS, beat, tell
from service.processes.engine_server import EngineServer
from service.processes.lifecycle import Lifecycle
from service.processes.local import Local
from service.settings import Settings

LEFT_SECONDS = 0.05

FAILURE_SECONDS = 0.1

WORKERS_SECONDS = 2.0
"""How much longer than their own grace workers may take to leave."""


def serve_engine(settings: Settings, folder: Path, path: Path, supervisor: Connection) -> None:
    """Serve until told to stop: by SIGTERM, or by the supervisor's end of the pipe being closed.

    Args:
        settings: with one device.
        folder: where all processes count their metrics.
        path: of the socket to listen on.
        supervisor: told None once this engine is open, or the sentence that says why it cannot be.
    """
    log_to_stderr(settings.log_level)
    try:
        audit.write_to(settings.audit_log)
        uvloop.run(_serve(settings, folder, path, supervisor))
    except LamoError as error:
        tell(supervisor, str(error))
        sys.exit(2)
    finally:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            shutil.rmtree(folder, ignore_errors=True)  # which the supervisor would have done


async def _serve(settings: Settings, folder: Path, path: Path, supervisor: Connection) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(supervisor.fileno(), partial(_leave, loop, supervisor, told))
    loop.add_signal_handler(signal.SIGTERM, told.set)
    lifecycle = Lifecycle.of(settings, Metrics(folder))
    async with lifecycle, EngineServer(Local(lifecycle), path) as server:
        await _opened_or_told(lifecycle, told)
        if lifecycle.failure is not None:
            raise lifecycle.failure
        if lifecycle.opened:
            tell(supervisor, None)
            await _told_or_failed(told, lifecycle, supervisor)
        lifecycle.draining = True
        await _workers_left(server, settings.drain_seconds + settings.grace_seconds + WORKERS_SECONDS)


def _leave(loop: asyncio.AbstractEventLoop, supervisor: Connection, told: asyncio.Event) -> None:
    loop.remove_reader(supervisor.fileno())  # a closed pipe stays readable
    told.set()


async def _opened_or_told(lifecycle: Lifecycle, told: asyncio.Event) -> None:
    tasks = [asyncio.create_task(waiting) for waiting in (lifecycle.wait_opened(), told.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _told_or_failed(told: asyncio.Event, lifecycle: Lifecycle, supervisor: Connection) -> None:
    """Wait until this process is to leave; after a failed accelerator the supervisor starts another.

    So it does after one that hangs: this one shows that it lives for as long as its device makes progress.
    """
    loop = asyncio.get_running_loop()
    beaten_at = -math.inf
    while not told.is_set():
        if lifecycle.failure is not None:
            raise lifecycle.failure
        if loop.time() - beaten_at >= BEAT_SECONDS / 2 and not lifecycle.stalled:
            beat(supervisor)
            beaten_at = loop.time()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), FAILURE_SECONDS)


async def _workers_left(server: EngineServer, seconds: float) -> None:
    """Wait until the workers have finished their requests: an engine leaves last."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while not server.left and loop.time() < until:
        await asyncio.sleep(LEFT_SECONDS)
