"""PolicyFolder: which revisions of which policies lie on disk; looked at often, read only where files changed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lamo import checkpoint
from lamo.errors import CheckpointError

_REVISION = re.compile(rf"[0-9a-f]{{{checkpoint.REVISION_DIGITS}}}")

Stamp = tuple[tuple[int, int, int], ...]
"""Inode, size and time of change of each file that a revision is made of."""


@dataclass(frozen=True)
class OnDisk:
    """A revision of a policy, and where it lies."""

    name: str
    revision: str
    directory: Path


class PolicyFolder:
    """A folder of policies. Its methods read the disk: call them from threads, never from the event loop."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._revisions: dict[Path, tuple[Stamp, str]] = {}

    def current(self) -> dict[str, OnDisk | CheckpointError]:
        """The revision of each policy that new episodes get, or why there is none.

        Raises:
            CheckpointError: the folder is missing or empty.
        """
        try:
            directories = checkpoint.subdirectories(self.path)
        except OSError as error:
            raise CheckpointError(f"policies folder {self.path} cannot be read: {error.strerror}") from error
        if not directories:
            raise CheckpointError(f"policies folder {self.path} holds no checkpoint directory")
        return {directory.name: self._current(directory) for directory in directories}

    def find(self, name: str, revision: str) -> OnDisk | None:
        """A revision of a policy, current or not. Names are compared with what is there, and open no path."""
        if not _REVISION.fullmatch(revision):
            return None
        try:
            policies = [path for path in checkpoint.subdirectories(self.path) if path.name == name]
            candidates = [*policies, *(path for policy in policies for path in checkpoint.subdirectories(policy))]
        except OSError:
            return None
        candidates.sort(key=lambda path: path.name != revision)  # the one of that name is the likeliest
        for directory in candidates:
            try:
                if self._revision(directory) == revision:
                    return OnDisk(name, revision, directory)
            except CheckpointError:
                continue
        return None

    def _current(self, directory: Path) -> OnDisk | CheckpointError:
        try:
            served = checkpoint.served_directory(directory)
            return OnDisk(directory.name, self._revision(served), served)
        except CheckpointError as error:
            return error
        except OSError as error:
            return CheckpointError(f"{directory} cannot be read: {error.strerror}")

    def _revision(self, directory: Path) -> str:
        """Of a checkpoint directory, hashed anew only if a file of it has changed."""
        try:
            stamp = tuple(_stamp(directory / name) for name in checkpoint.REVISION_FILES)
            known, revision = self._revisions.get(directory, (None, ""))
            if known != stamp:
                revision = checkpoint.revision(directory)
                self._revisions[directory] = stamp, revision
        except FileNotFoundError as error:
            raise CheckpointError(f"checkpoint file {error.filename} is missing") from error
        except OSError as error:
            raise CheckpointError(f"{error.filename} cannot be read: {error.strerror}") from error
        return revision


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
