"""RunProcess: one training run in a process of its own, which writes to the log in its folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from training.exit_codes import INTERRUPTED
from training.sweeps.file_lock import FileLock

LOG, LOCK = "log.txt", ".lock"

LAST_LINES = 8
"""Of a log, to say why a run failed."""

SECONDS_BETWEEN_BARS = "30"
"""In a log every drawing of a progress bar stays; drawn as often as on a terminal they would fill a disk."""


class RunProcess:
    """`lamo-train train` as a process, ended when it is left; never two at a time in one folder.

    It is the leader of its own session, so that a Ctrl-C reaches it once, through `stop`: the second signal
    would cut off its saving.

    Args:
        folder: of the run; the log lies there.
        words: what follows `lamo-train train`.
        environment: variables for it, where this process has none of that name.
    """

    def __init__(self, folder: Path, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._words = words
        self._environment = environment
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            Held: another process is at work on this run.
        """
        command = [sys.executable, "-m", "training.cli", "train", *self._words]
        environment = {"TQDM_MININTERVAL": SECONDS_BETWEEN_BARS, **self._environment, **os.environ}
        with FileLock(self._folder / LOCK, wait=False) as lock, (self._folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, and no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.exit_code() is None:
            self._process.kill()
        self._process.wait()

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to save and end."""
        self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait()

    def __str__(self) -> str:
        return self._folder.name


def interrupted(exit_code: int) -> bool:
    """Whether a run ended because a signal asked it to; it is no failure, and can go on."""
    return exit_code in (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)


def last_lines(folder: Path) -> str:
    """The end of a run's log; of progress bars only what was drawn last."""
    path = folder / LOG
    text = path.read_bytes().decode(errors="replace") if path.exists() else ""
    lines = [re.split(r"\r(?!$)", line)[-1].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in lines if line][-LAST_LINES:])
