"""Child: one process under a supervisor; the end of the pipe between them tells it to leave."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

_SPAWN = multiprocessing.get_context("spawn")
"""Not fork: a copy of a process with threads and an event loop may hang."""

BEAT_SECONDS = 1.0

_BEAT, _RECEIPT = True, False


class Child:
    """A process that is kept.

    Args:
        name: what logs call it.
        target: runs in the process with `arguments` and its end of the pipe, over which it calls `tell`.

    Attributes:
        opened, failure: what it told before it ended.
        beats: how often it told that it makes progress.
    """

    def __init__(self, name: str, target: Callable[..., None], arguments: tuple[object, ...]) -> None:
        self.name = name
        self._pipe, self._others = _SPAWN.Pipe()
        self._process = _SPAWN.Process(name=name, target=target, args=(*arguments, self._others), daemon=True)
        self.opened = False
        self.beats = 0
        self._owes_receipt = False
        self.failure: str | None = None

    @classmethod
    def started(cls, name: str, target: Callable[..., None], arguments: tuple[object, ...] = ()) -> Child:
        """A process that runs."""
        child = cls(name, target, arguments)
        child._process.start()
        child._others.close()
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid or 0

    @property
    def exit_code(self) -> int | None:
        """How it ended; minus the signal that killed it."""
        return self._process.exitcode

    def send(self, order: object, *, waits: bool = False) -> bool:
        """Tell it what to do; whether it was there to be told. One that waits for it has to say `received`."""
        try:
            self._pipe.send(order)
        except BrokenPipeError:
            return False
        self._owes_receipt = waits
        return True

    def leave(self) -> None:
        """Tell it to finish what it does and end."""
        self._hear()
        self._pipe.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def ended(self) -> None:
        """Return when it has ended; `opened` and `failure` are what it said."""
        loop = asyncio.get_running_loop()
        end = asyncio.Event()
        loop.add_reader(self._process.sentinel, end.set)
        try:
            await end.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        self._hear()
        self._pipe.close()

    async def told_open(self) -> None:
        """Return when it has said that it is open."""
        while not self.opened:
            await asyncio.sleep(BEAT_SECONDS)
            self._hear()

    async def silent(self, seconds: float) -> None:
        """Return when one that beat before has not done so for as long, or one that waited has not begun.

        What this process slept does not count.
        """
        silence, heard = 0, 0
        while silence * BEAT_SECONDS < seconds:
            await asyncio.sleep(BEAT_SECONDS)
            self._hear()
            owing = self._owes_receipt or heard > 0
            silence = silence + 1 if owing and self.beats == heard else 0
            heard = self.beats

    def _hear(self) -> None:
        with suppress(OSError, EOFError):  # closed, by us or by its end
            while self._pipe.poll():
                word = self._pipe.recv()
                if word == _BEAT:
                    self.beats += 1
                elif word == _RECEIPT:
                    self._owes_receipt = False
                else:
                    self.opened, self.failure = word is None, word


def tell(supervisor: Connection, word: str | None) -> None:
    """Say None once this process is open, or why it cannot be; a supervisor that is gone hears nothing."""
    with suppress(BrokenPipeError):
        supervisor.send(word)


def received(supervisor: Connection) -> None:
    """Say that the order came: until then one that waited for it may as well be frozen."""
    with suppress(BrokenPipeError):
        supervisor.send(_RECEIPT)


def beat(supervisor: Connection) -> None:
    """Say that this process makes progress; one that began to say so has to go on, every `BEAT_SECONDS`."""
    with suppress(BrokenPipeError):
        supervisor.send(_BEAT)
