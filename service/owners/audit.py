"""Audit: who was let in or refused, and what began and ended, as lines of a logger of their own.

Never a key and nothing of a body: owners, ids and names only.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from pathlib import Path

from lamo.errors import ConfigError
from service.callers import Caller
from service.logs import JsonLines

logger = logging.getLogger("lamo.audit")


def tell(event: str, caller: Caller | None = None, **fields: object) -> None:
    """Write one line.

    Args:
        caller: who asked for it; its owner, key and ids are told.
    """
    if caller is not None:
        ids = {"request_id": caller.request_id, "trace_id": caller.trace_id}
        fields = {"owner": caller.owner, "key_id": caller.key_id, **ids, **fields}
    told = {name: value for name, value in fields.items() if value is not None}
    logger.info(event, extra={**told, "pid": os.getpid()})


class _LastingFile(WatchedFileHandler):
    """A file that is opened anew if it was moved away; what cannot be written is told on standard error.

    The library's own raises where the file cannot be looked at or opened anew: to whoever starts an episode.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        try:
            super().emit(record)
        except OSError:
            self._give_up()
            self.handleError(record)

    def _give_up(self) -> None:
        """Close what has unwritten bytes; the next line opens the file."""
        if self.stream is not None:
            with suppress(OSError):
                self.stream.close()
            self.stream = None  # as the library does


def write_to(path: Path | None) -> None:
    """Send this process's lines to a file that several processes append to; None leaves them in the log.

    They are told whatever `--log-level` says. A file that is moved away, to rotate it, is opened anew.

    Raises:
        ConfigError: it cannot be written to.
    """
    logger.setLevel(logging.INFO)
    if path is None:
        return
    try:
        handler = _LastingFile(path, encoding="utf-8")  # appends, and a line is one write
    except OSError as error:
        raise ConfigError(f"audit log {path} cannot be written to: {error.strerror or error}") from error
    handler.setFormatter(JsonLines())
    for before in logger.handlers[:]:
        logger.removeHandler(before)
        before.close()
    logger.addHandler(handler)
    logger.propagate = False
