"""FileLock: whoever holds it is the only one at work on a folder, on this machine and on a shared file system."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Held(Exception):
    """Somebody else holds the lock."""


class FileLock:
    """A lock on a file, held while it is entered; the system releases it when its last holder has ended.

    Args:
        wait: until whoever holds it releases it; otherwise entering raises `Held`.
    """

    def __init__(self, path: Path, *, wait: bool) -> None:
        self._path = path
        self._wait = wait
        self._file = -1

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | (0 if self._wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            os.close(self._file)
            raise Held from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)  # a child that was given the file goes on holding the lock

    def fileno(self) -> int:
        """The open file: a child process that inherits it holds the lock too."""
        return self._file
