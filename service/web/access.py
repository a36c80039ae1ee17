"""Access: one structured log line per request, without keys, observations or anything else that its body holds."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter

from lamo.wire import EPISODE_ID_PATTERN
from service.web.arrival import Arrival, readable_address

logger = logging.getLogger(__name__)

_EPISODE = re.compile(r"/episodes/([^/]+)(/act|/end|/window)?")
_EPISODE_ID = re.compile(EPISODE_ID_PATTERN)
_POLICY = re.compile(r"/policies/[^/]+")
_KNOWN = frozenset(("/act", "/episodes", "/policies", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"))

CLIENT_LEFT = 499
"""nginx's number for a client that did not wait for its answer."""


WINDOW_SECONDS = 1.0

LINES_PER_WINDOW = 20
"""Of each event and status, in each process; the others are told as a number."""


class AccessLog:
    """The log of one process' requests; no flood of refusals or failures fills it, nor spends its time on lines."""

    def __init__(self) -> None:
        self._told: Counter[tuple[int, str, int]] = Counter()

    def tell(self, arrival: Arrival, status: int) -> None:
        """Tell how a request went: at debug if it was served, at info if it was refused, at warning if we failed.

        A probe that hears "not ready" hears what it asked for: it is told at info.
        A refused key that the audit log only counts is told at debug: no flood of them fills this log either.

        Args:
            arrival: the request, with what it was refused for.
            status: what it was answered, `CLIENT_LEFT` if nobody was there any more.
        """
        level, event = _weight(arrival, status)
        if logger.isEnabledFor(level) and (level == logging.DEBUG or self._has_room(level, event, status)):
            fields = _fields(arrival, status)
            logger.log(level, event, extra={name: value for name, value in fields.items() if value})

    def _has_room(self, level: int, event: str, status: int) -> bool:
        if not self._told:
            asyncio.get_running_loop().call_later(WINDOW_SECONDS, self._close)
        self._told[level, event, status] += 1
        return self._told[level, event, status] <= LINES_PER_WINDOW

    def _close(self) -> None:
        for (level, event, status), count in self._told.items():
            if count > LINES_PER_WINDOW:
                logger.log(level, f"{event}, further", extra={"status": status, "times": count - LINES_PER_WINDOW})
        self._told.clear()


def _fields(arrival: Arrival, status: int) -> dict[str, object]:
    path, episode = _without_secrets(arrival.path)
    return {
        "method": arrival.method,
        "path": path,
        "episode": episode,
        "status": status,
        "kinds": sorted({refusal.kind for refusal in arrival.refusals}),
        "ms": round(1000 * (time.monotonic() - arrival.received_at), 3),
        "request_id": arrival.request_id,
        "trace_id": arrival.trace.trace_id,
        "span_id": arrival.trace.span_id,
        "owner": arrival.owner,
        "client": readable_address(arrival.client),
    }


def _weight(arrival: Arrival, status: int) -> tuple[int, str]:
    if status == 503 and arrival.path == "/readyz":
        return logging.INFO, "not ready"
    if status >= 500:
        return logging.WARNING, "request failed"
    if status == CLIENT_LEFT:
        return logging.INFO, "client left"
    if status >= 400:
        return logging.DEBUG if arrival.only_counted else logging.INFO, "request refused"
    if arrival.refusals:
        return logging.INFO, "items refused"
    return logging.DEBUG, "request served"


def _without_secrets(path: str) -> tuple[str, str | None]:
    """The route of a path, and the episode in it. A path of no route may hold anything, and is not repeated."""
    if match := _EPISODE.fullmatch(path):
        episode_id = match[1] if _EPISODE_ID.fullmatch(match[1]) else None
        return f"/episodes/{{episode_id}}{match[2] or ''}", episode_id
    if _POLICY.fullmatch(path):
        return "/policies/{name}", None
    return (path if path in _KNOWN else "none of ours"), None
