"""KeysText: a keys file as text, to which keys are added and from which they are taken; the rest stays."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lamo.errors import ConfigError
from service.owners.keys import key_hash, new_key
from service.owners.owners import Owners, read_text

_BARE = re.compile(r"[A-Za-z0-9_-]+")

Told = str | float | Sequence[str]


@dataclass(frozen=True)
class KeysText:
    """What a file holds, or will hold once it is written."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path, *, missing: bool = False) -> KeysText:
        """A file's text.

        Args:
            missing: whether the file may be missing, which is an empty one.

        Raises:
            ConfigError: it cannot be read.
        """
        return cls(path, "" if missing and not path.exists() else read_text(path))

    @property
    def owners(self) -> Owners:
        """What it says.

        Raises:
            ConfigError: it is no keys file.
        """
        return Owners.of_text(self.text, self.path)

    def with_key(
        self, owner: str, scopes: Sequence[str], limits: Mapping[str, Told], created: date
    ) -> tuple[KeysText, str]:
        """The text with one more key, and the key, which stands nowhere else.

        Args:
            limits: the fields of a new owner's table.

        Raises:
            ConfigError: a value cannot be used, or the owner has limits already.
        """
        before = self.owners
        key_id, key = new_key()
        added = ""
        if owner not in before.owners:
            added += _table(f"[owners.{_name(owner)}]", limits)
        elif limits:
            raise ConfigError(f"owner {owner!r} has a table already: change its {', '.join(limits)} in {self.path}")
        fields: dict[str, Told] = {"id": key_id, "sha256": key_hash(key).hex(), "scopes": scopes}
        added += _table(f"[[owners.{_name(owner)}.keys]]", fields, f"created = {created.isoformat()}\n")
        after = KeysText(self.path, f"{self.text.rstrip()}\n\n{added}".lstrip())
        after.owners  # noqa: B018 - what cannot be used is told before anything is written
        return after, key

    def without_key(self, key_id: str) -> KeysText:
        """The text without a key; its owner stays.

        Raises:
            ConfigError: there is no such key, or it is not in a table of its own.
        """
        before = _ids(self.owners)
        gone = {(owner, found) for owner, found in before if found == key_id}
        if not gone:
            raise ConfigError(f"keys file {self.path} has no key {key_id!r}")
        after = KeysText(self.path, _without_table(self.text, key_id))
        if _ids(after.owners) != before - gone:
            raise ConfigError(
                f"key {key_id!r} is in no [[...keys]] table of its own: take it from {self.path} by hand"
            )
        return after

    def write(self) -> None:
        """Replace the file at once, readable by its owner alone unless it was readable by others before.

        Raises:
            ConfigError: it cannot be written.
        """
        target = self.path.resolve()
        try:
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".keys-") as folder:
                written = Path(folder) / target.name
                self._write_as(written, target)
                written.replace(target)
        except OSError as error:
            raise ConfigError(f"keys file {self.path} cannot be written: {error.strerror or error}") from error

    def _write_as(self, written: Path, target: Path) -> None:
        with written.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            if target.exists():
                found = target.stat()
                os.fchmod(file.fileno(), found.st_mode & 0o777)
                with suppress(PermissionError):  # root edits the file of the service's user
                    os.fchown(file.fileno(), found.st_uid, found.st_gid)
            file.write(self.text)
            file.flush()
            os.fsync(file.fileno())


def new_owner_fields(policies: Sequence[str] | None, in_flight: int | None, rate: float | None) -> dict[str, Told]:
    """The fields of a new owner's table, without those that stay at their default."""
    told = {"policies": policies, "in_flight": in_flight, "starts_per_second": rate}
    return {name: value for name, value in told.items() if value is not None}


def _ids(owners: Owners) -> set[tuple[str, str]]:
    return {(owner, key.id) for owner, key in owners.all_keys()}


def _name(owner: str) -> str:
    return owner if _BARE.fullmatch(owner) else json.dumps(owner)


def _table(header: str, fields: Mapping[str, Told], rest: str = "") -> str:
    """A TOML table; its values are written as in JSON, which for these types is TOML."""
    return "".join(
        [f"{header}\n", *(f"{name} = {json.dumps(value)}\n" for name, value in fields.items()), rest, "\n"]
    )


def _without_table(text: str, key_id: str) -> str:
    """The text without the lines from a `[[` to the last one before the next table that says something."""
    lines = text.splitlines(keepends=True)
    named = re.compile(rf"\s*id\s*=\s*[\"']{re.escape(key_id)}[\"']")
    heads = [number for number, line in enumerate(lines) if line.lstrip().startswith("[")]
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        table = lines[head:end]
        if table[0].lstrip().startswith("[[") and any(named.match(line) for line in table):
            said = max(number for number in range(head, end) if lines[number].split("#")[0].strip())
            return "".join(lines[:head] + lines[said + 1 :])
    return text
