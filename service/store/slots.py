"""Slots: which redis-server of a cluster holds a key, as far as is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from service.store.scripts import Arguments

Address = tuple[str, int]

READ_SLOTS: Arguments = ("CLUSTER", "SLOTS")


def slot_of(command: Arguments) -> int:
    """The slot of a command's first key; all of them are one episode's and share a hash tag."""
    key = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
    return key_slot(str(key).encode())


class Slots:
    """Every slot's master."""

    def __init__(self) -> None:
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._masters: frozenset[Address] = frozenset()

    @property
    def known(self) -> bool:
        """Whether any node holds a slot."""
        return bool(self._masters)

    @property
    def masters(self) -> frozenset[Address]:
        """Those that hold any slot."""
        return self._masters

    def owner(self, slot: int) -> Address | None:
        """The master of a slot, None if it has none or nothing is known yet."""
        return self._owners[slot]

    def move(self, slot: int, owner: Address) -> None:
        """One slot is elsewhere than was known."""
        self._owners[slot] = owner
        self._masters |= {owner}

    def adopt(self, answer: Sequence[Sequence[Any]], asked: Address) -> None:
        """What a node says to `READ_SLOTS`: ranges of slots, each with its master and then its replicas.

        Args:
            asked: the node; one that does not know its own host says none.
        """
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, master, *_ in answer:
            host = master[0].decode() if master[0] else ""
            address = (host if host not in ("", "?") else asked[0], int(master[1]))
            owners[first : last + 1] = [address] * (last + 1 - first)
        self._owners = owners
        self._masters = frozenset(owner for owner in set(owners) if owner is not None)
