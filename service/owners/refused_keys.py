"""RefusedKeys: tells the audit log of requests without a good key, in a number of lines that no flood can raise."""

from __future__ import annotations

import asyncio
from collections import Counter

from service.owners import audit
from service.web.arrival import Arrival, readable_address

WINDOW_SECONDS = 1.0

LINES_PER_WINDOW = 20
"""Of refusals that differ in address, key id or reason; the others are told as a number."""

Refusal = tuple[str, str | None, str | None]


class RefusedKeys:
    """Refusals, each kind told when it first comes and counted for the rest of a second."""

    def __init__(self) -> None:
        self._counts: Counter[Refusal] = Counter()
        self._others = 0

    def tell(self, arrival: Arrival, reason: str, key_id: str | None, owner: str | None = None) -> None:
        """A request was refused; its arrival learns whether this is told or only counted.

        Args:
            key_id: of the key it came with, None if that was none of ours; the id is public.
            owner: whose key it was, where it is known.
        """
        client = readable_address(arrival.client)
        refusal = (reason, client, key_id)
        if not self._counts and not self._others:
            asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._close)
        if refusal not in self._counts and len(self._counts) >= LINES_PER_WINDOW:
            self._others += 1
            arrival.only_counted = True
            return
        self._counts[refusal] += 1
        arrival.only_counted = self._counts[refusal] > 1
        if not arrival.only_counted:
            audit.tell(
                "key refused",
                reason=reason,
                client=client,
                key_id=key_id,
                owner=owner,
                request_id=arrival.request_id,
                trace_id=arrival.trace.trace_id,
            )

    def _close(self) -> None:
        for (reason, client, key_id), count in self._counts.items():
            if count > 1:
                audit.tell("key refused again", reason=reason, client=client, key_id=key_id, times=count - 1)
        if self._others:
            audit.tell("further keys refused", times=self._others)
        self._counts.clear()
        self._others = 0
