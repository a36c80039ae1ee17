"""Patience: how often, how long and with what pauses one call is tried before its error is final. Pure."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import httpx

from lamo.errors import ServiceError, ServiceUnreachable

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 2.0
LAST_DOUBLING = 10

DIVIDED_SECONDS = 1.0
"""With more than this left, a try gets half of it: an answer that was lost on its way leaves time to ask again."""

NEGLIGIBLE_SECONDS = 0.005

FINAL = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.DecodingError)
"""Failures of the connection that the same request would meet again."""


class Patience:
    """One call's tries within one overall deadline.

    Only what the HTTP contract makes harmless is tried again: the same request after a failed connection, a lost
    answer, or an error that the service calls retryable.

    Attributes:
        traceparent: the W3C trace context that all tries carry.
    """

    def __init__(
        self,
        url: str,
        deadline_seconds: float,
        *,
        traceparent: str = "",
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.url = url
        self.deadline_seconds = deadline_seconds
        self.traceparent = traceparent
        self.tries = 0
        self._clock = clock
        self._chance = chance
        self._told: ServiceError | None = None
        self._reason = ""
        self._given_seconds = 0.0
        self._began = clock()

    @property
    def spent_seconds(self) -> float:
        """Time since the call began."""
        return self._clock() - self._began

    def begin_try(self) -> float:
        """Count one more try; how many seconds it may take."""
        self.tries += 1
        left = max(self.deadline_seconds - self.spent_seconds, NEGLIGIBLE_SECONDS)
        self._given_seconds = left / 2 if left > DIVIDED_SECONDS else left
        return self._given_seconds

    def pause_after(self, error: httpx.RequestError | ServiceError) -> float:
        """Seconds to wait before the same request is sent again.

        Raises:
            ServiceError: `error` is final, or the next try would come after the deadline.
        """
        asked_seconds = 0.0
        if isinstance(error, ServiceError):
            if not error.retryable:
                raise error
            self._told = error
            asked_seconds = (error.retry_after_ms or 0) / 1000
        else:
            self._note(error)
            if isinstance(error, FINAL):
                raise self._unreachable() from error
        left = self.deadline_seconds - self.spent_seconds
        if left <= NEGLIGIBLE_SECONDS or asked_seconds >= left:
            raise self._exhausted() from error
        backoff = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self.tries - 1, LAST_DOUBLING), LONGEST_PAUSE_SECONDS)
        pause = max(backoff, asked_seconds) * (1 + self._chance() / 2)
        return min(pause, max(asked_seconds, left / 2))

    def _note(self, error: httpx.RequestError) -> None:
        """Keep why there was no answer; that the deadline's last moment was too short for one explains nothing."""
        too_short = isinstance(error, httpx.TimeoutException) and self._given_seconds < DIVIDED_SECONDS
        if not (too_short and self._reason):
            self._reason = str(error) or type(error).__name__

    def _exhausted(self) -> ServiceError:
        """What is raised when time is up: the last error the service answered, else why it did not."""
        if self._told is None:
            return self._unreachable()
        return self._told.saying(f"{self._told.detail} (still so after {self._effort()})")

    def _unreachable(self) -> ServiceUnreachable:
        return ServiceUnreachable(f"no answer from {self.url} after {self._effort()}: {self._reason}")

    def _effort(self) -> str:
        return f"{self.spent_seconds:.1f} s and {self.tries} {'try' if self.tries == 1 else 'tries'}"
