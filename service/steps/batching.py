"""Batching: which of the waiting requests go together; pure, it knows no model and no store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar


class Waiting(Protocol):
    """A request in the queue."""

    @property
    def name(self) -> Hashable:
        """The episode it belongs to."""
        ...


Request = TypeVar("Request", bound=Waiting)
Item = TypeVar("Item")


def take(queues: Iterable[Iterable[Request]], busy: Collection[Hashable], limit: int) -> list[Request]:
    """Everything that can go now, at most `limit`: of each queue in turn its oldest request.

    One request per episode, and none of an episode in `busy`, whose step before is not resolved yet. There is no
    timer: whoever comes while the device is busy waits for it and shares the next batch.

    Args:
        queues: no episode has requests in two of them.
    """
    taken: list[Request] = []
    turns = deque(_one_per_episode(queue, busy) for queue in queues)
    while turns and len(taken) < limit:
        queue = turns.popleft()
        request = next(queue, None)
        if request is not None:
            taken.append(request)
            turns.append(queue)
    return taken


def _one_per_episode(queue: Iterable[Request], busy: Collection[Hashable]) -> Iterator[Request]:
    episodes: set[Hashable] = set()
    for request in queue:
        if request.name not in busy and request.name not in episodes:
            episodes.add(request.name)
            yield request


def group(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[Sequence[Item]]:
    """Items of one key together, groups and members in the order they came: one forward pass, one policy."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
