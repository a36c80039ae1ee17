"""OwnerQueues: acts that wait, in a queue for each owner, so that a flood is in its own way first."""

from __future__ import annotations

import math
from collections.abc import Collection

from service.callers import EpisodeName
from service.steps.batching import take
from service.steps.flight import Act


class OwnerQueues:
    """Queues in the order their acts came; an owner without acts has none."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[Act, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def oldest(self) -> float:
        """When the oldest act was received, on the monotonic clock; -infinity if there is none."""
        return min((act.received_at for queue in self._queues.values() for act in queue), default=-math.inf)

    def before(self, owner: str) -> int:
        """How many acts go before one that this owner would add now."""
        own = len(self._queues.get(owner, {}))
        others = (queue for name, queue in self._queues.items() if name != owner)
        return own + sum(min(len(queue), own + 1) for queue in others)

    def add(self, act: Act) -> None:
        """Behind all others of its owner."""
        self._queues.setdefault(act.name.owner, {})[act] = None

    def add_first(self, act: Act) -> None:
        """Before all others of its owner."""
        self._queues[act.name.owner] = {act: None, **self._queues.get(act.name.owner, {})}

    def discard(self, act: Act) -> None:
        """It waits no longer, if it did."""
        queue = self._queues.get(act.name.owner, {})
        queue.pop(act, None)
        if not queue:
            self._queues.pop(act.name.owner, None)

    def take(self, busy: Collection[EpisodeName], limit: int) -> list[Act]:
        """What goes next: one act of each owner in turn, the owner whose first one waits longest before others."""
        first_come = sorted(self._queues.values(), key=lambda queue: next(iter(queue)).received_at)
        taken = take(first_come, busy, limit)
        for act in taken:
            self.discard(act)
        return taken

    def newest_of_longest(self, owner: str) -> Act | None:
        """The act that gives way to one more of this owner's: of a queue that stays no shorter than its own."""
        longest = max(self._queues.values(), key=len, default={})
        if len(longest) <= len(self._queues.get(owner, {})) + 1:
            return None
        return next(reversed(longest))
