"""Batching: which of the waiting requests go together; pure, it knows no model and no store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """A request in the queue."""

    @property
    def name(self) -> Hashable:
        """The episode it belongs to."""
        ...


Request = TypeVar("Request", bound=Waiting)
Item = TypeVar("Item")


def take(queue: Iterable[Request], busy: Collection[Hashable], limit: int) -> list[Request]:
    """Everything that can go now, oldest first, at most `limit`.

    One request per episode, and none of an episode in `busy`, whose step before is not resolved yet. There is no
    timer: whoever comes while the device is busy waits for it and shares the next batch.
    """
    taken: list[Request] = []
    episodes: set[Hashable] = set()
    for request in queue:
        if len(taken) == limit:
            break
        if request.name not in busy and request.name not in episodes:
            taken.append(request)
            episodes.add(request.name)
    return taken


def group(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[Sequence[Item]]:
    """Items of one key together, groups and members in the order they came: one forward pass, one policy."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
