"""StartRates: how many episodes each owner has started of late, held against its limit."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from lamo.errors import OwnerLimit
from service.callers import Caller

AVERAGED_SECONDS = 5.0
"""After a pause an owner may start what it could have started in this time, at once."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class StartRates:
    """A token bucket for each owner that has a limit (of starts per second); restored episodes count as started."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def count(self, caller: Caller) -> None:
        """An episode is to be started or restored.

        Raises:
            OwnerLimit: its owner starts too many.
        """
        rate = caller.limits.starts_per_second
        if rate is None:
            return
        now, room = time.monotonic(), max(1.0, AVERAGED_SECONDS * rate)
        bucket = self._buckets.setdefault(caller.owner, _Bucket(room, now))
        bucket.tokens = min(room, bucket.tokens + rate * (now - bucket.filled_at))
        bucket.filled_at = now
        if bucket.tokens < 1:
            raise OwnerLimit(
                f"owner {caller.owner!r} starts more than {rate:g} episodes per second, its limit",
                retry_after_ms=math.ceil(1000 * (1 - bucket.tokens) / rate),
            )
        bucket.tokens -= 1
