"""KeysFile: the file that names owners and their keys, read again whenever it changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lamo.errors import ConfigError
from service.owners import audit
from service.owners.keyring import Keyring
from service.owners.owners import read_keyring

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class KeysFile:
    """The keys that are good now: a change holds after two looks, one that cannot be used changes nothing.

    Attributes:
        keyring: the keys of the last file that could be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keyring = Keyring({})
        self._read: tuple[int, ...] | None = None
        self._changed: tuple[int, ...] | None = None

    def open(self) -> None:
        """Read it for the first time.

        Raises:
            ConfigError: it is missing, unreadable, names no owner, or cannot be used.
        """
        self._read = self._changed = self._state()
        self.keyring = read_keyring(self.path)
        audit.tell("keys read", owners=len(self.keyring.owners), keys=len(self.keyring))

    def look(self) -> None:
        """Read it again if it changed before the last look and not since: what is being written is left alone."""
        state = self._state()
        if state == self._read:
            return
        if state != self._changed:
            self._changed = state
            return
        try:
            keyring = read_keyring(self.path)
        except ConfigError as error:
            self._read = state  # told once
            logger.error("keys file cannot be used, the keys before stay", extra={"reason": str(error)})
            audit.tell("keys file refused", reason=str(error))
            return
        if self._state() == state:
            self._take(keyring, state)

    async def watch(self) -> None:
        """Look again and again, beside the event loop."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.look)
            except Exception:  # else a key that is taken back would stay good for ever
                logger.exception("the keys file could not be looked at")

    def _take(self, keyring: Keyring, state: tuple[int, ...] | None) -> None:
        before, self.keyring, self._read = self.keyring, keyring, state
        for event, grant in before.changes_to(keyring):
            audit.tell(event, owner=grant.owner, key_id=grant.key_id, scopes=sorted(grant.scopes))

    def _state(self) -> tuple[int, ...] | None:
        """What differs once it was replaced or written to, None if it is not there."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def opened(path: Path | None) -> KeysFile | None:
    """The keys file that settings name, read.

    Raises:
        ConfigError: it cannot be used.
    """
    if path is None:
        return None
    keys = KeysFile(path)
    keys.open()
    return keys


@asynccontextmanager
async def watched(keys: KeysFile | None) -> AsyncIterator[None]:
    """Look at the file, if there is one, until the end."""
    watching = None if keys is None else asyncio.create_task(keys.watch())
    try:
        yield
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
