"""Keyring: the keys that are good now, and what each of them stands for."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.callers import Limits
from service.owners.keys import Scope, id_of, key_hash

_NOBODYS = bytes(32)
"""What is compared where no key has the id: the time an answer takes does not tell which ids there are."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of a key may do.

    Attributes:
        owner: whose episodes it may touch.
        limits: the owner's, all its keys together.
    """

    key_id: str
    owner: str
    scopes: frozenset[Scope]
    limits: Limits


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key by its hash. `repr` leaves it out."""

    digest: bytes
    grant: Grant

    def __repr__(self) -> str:
        return f"KnownKey({self.grant!r})"


class Keyring:
    """Known keys, by their public id."""

    def __init__(self, known: Mapping[str, KnownKey]) -> None:
        self._known = known

    def __len__(self) -> int:
        return len(self._known)

    @property
    def owners(self) -> set[str]:
        """Everyone who has a key."""
        return {known.grant.owner for known in self._known.values()}

    def grant(self, key: str) -> Grant | None:
        """What a key stands for, None if it is not known; hashes are compared in constant time."""
        key_id = id_of(key)
        if key_id is None:
            return None
        known = self._known.get(key_id)
        same = hmac.compare_digest(key_hash(key), _NOBODYS if known is None else known.digest)
        return known.grant if known is not None and same else None

    def changes_to(self, later: Keyring) -> Iterator[tuple[str, Grant]]:
        """Each key that was added, removed or changed between this keyring and a later one, with what it was."""
        for key_id in sorted(self._known.keys() | later._known.keys()):
            before, after = self._known.get(key_id), later._known.get(key_id)
            if before is None and after is not None:
                yield "key added", after.grant
            elif before is not None and after is None:
                yield "key removed", before.grant
            elif before is not None and after is not None and before != after:
                yield "key changed", after.grant
