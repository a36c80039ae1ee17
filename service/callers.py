"""Callers: who asks, what they may do, and the names of their episodes. Plain values, known in every process."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

LOCAL_OWNER = "local"
"""Whose episodes are while nobody is asked for a key."""


class EpisodeName(NamedTuple):
    """An episode by its owner and its id: two owners' episodes of one id are two."""

    owner: str
    id: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What an owner may take of a service. Counts hold for each engine; None is no limit.

    Attributes:
        policies: patterns of the names of policies it may start, as in a shell.
        in_flight: acts under way at once.
        starts_per_second: episodes started or restored, on average over a few seconds.
    """

    policies: tuple[str, ...] = ("*",)
    in_flight: int | None = None
    starts_per_second: float | None = None

    def allow(self, policy: str) -> bool:
        """Whether a policy of this name may be started."""
        return any(fnmatchcase(policy, pattern) for pattern in self.policies)


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        owner: the team whose episodes it may touch.
        request_id, trace_id: what logs call the request, and the trace it is part of, if any.
        limits: the owner's.
        key_id: the public part of the key it came with, None where nobody is asked for one.
    """

    owner: str = LOCAL_OWNER
    request_id: str = ""
    trace_id: str | None = None
    limits: Limits = NO_LIMITS
    key_id: str | None = None

    def episode(self, episode_id: str) -> EpisodeName:
        """The name of this caller's episode of an id."""
        return EpisodeName(self.owner, episode_id)
