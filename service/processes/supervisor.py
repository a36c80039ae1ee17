"""Supervisor: the process that starts engines and HTTP workers, starts dead ones again, and ends them all.

It loads no torch and serves nothing itself, so that little can go wrong in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from lamo.errors import LamoError
from service.logs import log_to_stderr
from service.owners import audit
from service.owners.owners import read_keyring
from service.processes.child import Child, received
from service.processes.standby import Standby
from service.settings import Settings
from service.web import tls
from service.web.server import listen_in_parts, url_of

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
"""Before a dead process is started again; it doubles while they die young."""

YOUNG_SECONDS = 30.0

LEAVE_SECONDS = 8.0
"""How much longer than the grace period a process may take to end: engines leave after workers and stop Redis."""


def supervise(settings: Settings) -> None:
    """Serve in several processes until told to stop.

    Raises:
        LamoError: the port or the keys file cannot be used, or a process ended before it was ever open.
    """
    log_to_stderr(settings.log_level)
    tls.context(settings)  # what is wrong with it is told before anything is opened
    audit.write_to(settings.audit_log)
    if settings.keys is not None:
        read_keyring(settings.keys)
    listeners = listen_in_parts(settings.host, settings.port, max(1, settings.workers))
    with tempfile.TemporaryDirectory(prefix="lamo-", ignore_cleanup_errors=True) as folder:
        # The library takes it from the environment alone, when it is first imported: in the processes to come.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        supervisor = Supervisor(settings, listeners, Path(folder))
        asyncio.run(supervisor.run())
    if supervisor.failure is not None:
        raise supervisor.failure


class Supervisor:
    """Keeps one engine per device and the HTTP workers alive until it is told to stop.

    Args:
        listeners: one per worker. They stay open here, so that connections wait for a worker that is started again.
        folder: for the engines' sockets and everybody's metrics.

    Attributes:
        failure: why the service ended by itself, None if it was asked to.
    """

    def __init__(self, settings: Settings, listeners: list[socket.socket], folder: Path) -> None:
        self.failure: LamoError | None = None
        self._settings = settings
        self._listeners = listeners
        self._folder = folder
        self._leaving = asyncio.Event()
        self._standby = Standby(_engine, kept=settings.standby)
        self._loading: set[str] = set()

    async def run(self) -> None:
        """Serve until a signal comes, or a process cannot be opened at all."""
        loop = asyncio.get_running_loop()
        for asked in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(asked, self._leaving.set)
        devices = self._settings.devices
        sockets = [self._folder / f"engine-{index}.sock" for index in range(len(devices))]
        async with asyncio.TaskGroup() as kept:
            for index, (device, path) in enumerate(zip(devices, sockets, strict=True)):
                settings = self._settings.model_copy(update={"device": device})
                order = settings, self._folder, path
                kept.create_task(self._keep(partial(self._standby.take, f"engine {index} on {device}", order)))
            for index, listener in enumerate(self._listeners):
                arguments = (self._settings, listener, self._folder, sockets)
                kept.create_task(self._keep(partial(Child.started, f"HTTP worker {index}", _worker, arguments)))
            logger.info("listening", extra={"url": url_of(self._listeners[0], self._settings)})
            await self._leaving.wait()
            self._standby.dismiss()
            for listener in self._listeners:
                listener.close()

    async def _keep(self, start: Callable[[], Child]) -> None:
        opened, pause = False, FIRST_PAUSE_SECONDS
        while not self._leaving.is_set():
            began = time.monotonic()
            child = start()
            logger.info("process started", extra={"role": child.name, "pid": child.pid})
            await self._outlive(child)
            opened = opened or child.opened
            if self._leaving.is_set():
                return
            if not opened:
                self._fail(child)
                return
            pause = FIRST_PAUSE_SECONDS if time.monotonic() - began > YOUNG_SECONDS else pause
            logger.error(
                "process died, starting it again",
                extra={"role": child.name, "pid": child.pid, "exit_code": child.exit_code, "pause_seconds": pause},
            )
            await self._asked_to_leave(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _outlive(self, child: Child) -> None:
        """Wait until it has ended, by itself or because the service ends."""
        settings = self._settings
        ended = asyncio.create_task(child.ended())
        leaving = asyncio.create_task(self._leaving.wait())
        hung = asyncio.create_task(child.silent(settings.hang_seconds))
        opening = asyncio.create_task(self._until_open(child))
        await asyncio.wait((ended, leaving, hung), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done() and leaving.done():
            child.leave()
            await asyncio.wait([ended], timeout=settings.drain_seconds + settings.grace_seconds + LEAVE_SECONDS)
        for waiting in (leaving, hung, opening):
            waiting.cancel()
        if not ended.done():
            logger.error("process hangs, killing it", extra={"role": child.name, "pid": child.pid})
            child.kill()
        await ended
        mark_process_dead(child.pid, str(self._folder))  # type: ignore[no-untyped-call]

    async def _until_open(self, child: Child) -> None:
        """Once nothing is loading any more, there is time to load for an engine's death."""
        self._loading.add(child.name)
        await child.told_open()
        self._loading.discard(child.name)
        if not self._loading and not self._leaving.is_set():
            self._standby.prepare()

    async def _asked_to_leave(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)

    def _fail(self, child: Child) -> None:
        """What cannot even be opened is not tried again: a person has to look at it."""
        if self.failure is None:
            self.failure = LamoError(
                child.failure
                or f"{child.name} ended with exit code {child.exit_code} before it was open; the log says why"
            )
        self._leaving.set()


def _engine(supervisor: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the supervisor passes it on
    from service.processes.engine_process import serve_engine  # noqa: PLC0415 - torch, which no other process needs

    try:
        settings, folder, path = supervisor.recv()
    except EOFError:
        return  # the service ended without need of it
    received(supervisor)
    serve_engine(settings, folder, path, supervisor)


def _worker(
    settings: Settings, listener: socket.socket, folder: Path, sockets: list[Path], supervisor: Connection
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from service.processes.http_worker import serve_worker  # noqa: PLC0415 - the supervisor speaks no HTTP

    serve_worker(settings, listener, folder, sockets, supervisor)
