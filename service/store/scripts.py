"""Scripts: the Lua programs that decide inside Redis, and how they are called."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

Arguments = tuple[str | bytes | int, ...]

_FOLDER = Path(__file__).parent / "scripts"


@dataclass(frozen=True)
class Script:
    """One Lua program; every one declares the same two keys, an episode's meta hash and its ring."""

    source: str
    sha: str

    @classmethod
    def read(cls, *names: str) -> Script:
        """The script in `scripts/<name>.lua`, or of several such texts one after the other."""
        source = "\n".join((_FOLDER / f"{name}.lua").read_text(encoding="utf-8") for name in names)
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


@dataclass(frozen=True)
class Call:
    """A script with its keys and arguments."""

    script: Script
    keys: tuple[str, str]
    arguments: Arguments

    @property
    def by_digest(self) -> Arguments:
        """The command that runs a script Redis has seen."""
        return ("EVALSHA", self.script.sha, 2, *self.keys, *self.arguments)

    @property
    def by_source(self) -> Arguments:
        """The command that runs it where Redis has not: after its restart, or on another node."""
        return ("EVAL", self.script.source, 2, *self.keys, *self.arguments)
