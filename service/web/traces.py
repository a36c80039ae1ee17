"""Trace: where a request stands in a distributed trace, as the W3C's header `traceparent` says it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")

_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """This service's part of a trace.

    Attributes:
        trace_id: the client's, or one of our own where it sent none; 32 hex digits.
        span_id: of this request in this service; 16 hex digits.
        sampled: whether the client records this trace.
    """

    trace_id: str
    span_id: str
    sampled: bool

    @classmethod
    def of(cls, traceparent: bytes | None, drawn: str | None = None) -> Trace:
        """The client's trace, if its header is valid (W3C Trace Context, section 3.2.2), else a new one.

        Args:
            drawn: 48 random hex digits, where a caller has drawn its own with them: each draw is a system call.
        """
        drawn = drawn or os.urandom(24).hex()
        match = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
        if match is None or not _valid(*match.groups()):
            return cls(drawn[:32], drawn[32:], sampled=False)
        return cls(match[2].decode(), drawn[32:], sampled=bool(int(match[4], 16) & _SAMPLED))

    @property
    def traceparent(self) -> bytes:
        """The header that names this service's part."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}".encode()


def _valid(version: bytes, trace_id: bytes, parent_id: bytes, flags: bytes, rest: bytes | None) -> bool:
    """Version ff is none, later ones may say more, and zeros name nothing."""
    if version == b"ff" or (rest is not None and version == b"00"):
        return False
    return bool(trace_id.strip(b"0") and parent_id.strip(b"0"))
