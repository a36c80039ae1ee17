"""Owners: what a keys file says: teams, each with hashed keys, policies and limits."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lamo.errors import ConfigError
from service.callers import Limits
from service.owners.keyring import Grant, Keyring, KnownKey
from service.owners.keys import ID_PATTERN, Scope

MAX_BYTES = 16 * 2**20

OWNER_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"

DEFAULT_SCOPES: tuple[Scope, ...] = ("act", "read")

OwnerName = Annotated[str, StringConstraints(pattern=OWNER_PATTERN)]
Pattern = Annotated[str, StringConstraints(min_length=1)]


class KeyEntry(BaseModel):
    """A `[[owners.NAME.keys]]` table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(pattern=ID_PATTERN)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: list[Scope] = Field(list(DEFAULT_SCOPES), min_length=1)
    created: date | None = None


class OwnerEntry(BaseModel):
    """An `[owners.NAME]` table."""

    model_config = ConfigDict(extra="forbid", strict=True)

    policies: list[Pattern] = ["*"]
    in_flight: int | None = Field(None, ge=1)
    starts_per_second: float | None = Field(None, gt=0, allow_inf_nan=False)
    keys: list[KeyEntry] = []

    @property
    def limits(self) -> Limits:
        """What it may take."""
        return Limits(tuple(self.policies), self.in_flight, self.starts_per_second)


class Owners(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    owners: dict[OwnerName, OwnerEntry] = {}

    @classmethod
    def of_text(cls, text: str, path: Path) -> Owners:
        """The owners that a file's text names.

        Raises:
            ConfigError: it is no TOML, or says something that is not known. The sentence quotes no value, since
                somebody may have written a key itself where its hash belongs.
        """
        try:
            owners = cls.model_validate(tomllib.loads(text))
        except ValidationError as error:
            raise ConfigError(f"keys file {path} cannot be used: {_sentence(error)}") from None
        except (ValueError, RecursionError) as error:  # of too long numbers, too deep lists
            raise ConfigError(f"keys file {path} is not TOML: {error}") from error
        for key_id, count in Counter(key.id for _, key in owners.all_keys()).items():
            if count > 1:
                raise ConfigError(f"keys file {path} has key {key_id!r} more than once")
        return owners

    def all_keys(self) -> Iterator[tuple[str, KeyEntry]]:
        """Every key with its owner's name."""
        for name, owner in self.owners.items():
            for key in owner.keys:
                yield name, key

    @property
    def keyring(self) -> Keyring:
        """Every key by its id."""
        known = {}
        for name, key in self.all_keys():
            grant = Grant(key.id, name, frozenset(key.scopes), self.owners[name].limits)
            known[key.id] = KnownKey(bytes.fromhex(key.sha256), grant)
        return Keyring(known)


def read_keyring(path: Path) -> Keyring:
    """The keys of a file. One that is emptied is no way to take every key back: it may be half written.

    Raises:
        ConfigError: it is missing, unreadable, names no owner, or cannot be used.
    """
    owners = Owners.of_text(read_text(path), path)
    if not owners.owners:
        raise ConfigError(f"keys file {path} names no owner: make a key with lamo-keys new OWNER --file {path}")
    return owners.keyring


def read_text(path: Path) -> str:
    """A keys file's text.

    Raises:
        ConfigError: it is missing, unreadable, or too large to be one.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise ConfigError(f"keys file {path} has more than {MAX_BYTES} bytes")
            return file.read().decode()
    except OSError as error:
        raise ConfigError(f"keys file {path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"keys file {path} is not UTF-8") from error


def _sentence(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part != "[key]")
    if first["type"] == "extra_forbidden":
        return f"{where} is unknown"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = str(first["msg"])
    return f"{where}: {message[:1].lower()}{message[1:]}"
