"""Standby: a process that has loaded all that an engine takes but the policies, for the next engine that dies."""

from __future__ import annotations

import logging
from collections.abc import Callable
from multiprocessing.connection import Connection

from service.processes.child import Child

logger = logging.getLogger(__name__)


class Standby:
    """Engine processes, and at most one more that waits to become one: to load torch takes seconds.

    Args:
        target: what such a process runs; it loads, waits for its order on the connection, and serves.
        kept: whether one more is kept.
    """

    def __init__(self, target: Callable[[Connection], None], *, kept: bool) -> None:
        self._target = target
        self._kept = kept
        self._waiting: Child | None = None

    def prepare(self) -> None:
        """Start the one more, unless it is there."""
        if self._kept and self._waiting is None:
            self._waiting = Child.started("standby engine", self._target)
            logger.info("standby started", extra={"pid": self._waiting.pid})

    def take(self, name: str, order: object) -> Child:
        """A process that becomes an engine now: the one that waited, or a new one where it is not there or died."""
        child, self._waiting = self._waiting, None
        if child is not None and child.send(order, waits=True):
            child.name = name
            return child
        if child is not None:
            logger.warning("standby had died", extra={"pid": child.pid, "exit_code": child.exit_code})
        child = Child.started(name, self._target)
        child.send(order)
        return child

    def dismiss(self) -> None:
        """End the one that waits; it has begun nothing."""
        if self._waiting is not None:
            self._waiting.kill()
