"""Revisions: which revisions of policies are loaded, which of them new episodes get, and which nobody uses."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lamo.config import PolicyConfig
from lamo.errors import UnknownPolicy
from lamo.normalization import Normalization
from lamo.policy import Policy
from service.callers import Limits

Key = tuple[str, str]
"""A policy's name and revision."""


@dataclass(frozen=True)
class PolicyDescription:
    """What can be told of a policy that need not be loaded; `dtype` is what its network computes in here."""

    name: str
    revision: str
    dtype: str
    config: PolicyConfig
    normalization: Normalization


@dataclass(frozen=True)
class ServedPolicy:
    """A policy under the name it is asked for by."""

    name: str
    policy: Policy

    @property
    def revision(self) -> str:
        """The checkpoint's identity."""
        return self.policy.revision

    @property
    def key(self) -> Key:
        """Name and revision."""
        return self.name, self.revision

    @property
    def description(self) -> PolicyDescription:
        """What can be told of it."""
        policy = self.policy
        return PolicyDescription(self.name, self.revision, policy.dtype, policy.config, policy.normalization)


@dataclass
class _Use:
    """When a revision was used last, on the monotonic clock, and how long the longest of its episodes lives."""

    served: ServedPolicy
    at: float
    ttl_seconds: float = 0.0


class Revisions:
    """What is loaded in one engine. Used by the event loop alone."""

    def __init__(self) -> None:
        self._current: dict[str, ServedPolicy] = {}
        self._loaded: dict[Key, _Use] = {}

    @property
    def current(self) -> list[ServedPolicy]:
        """What new episodes get, by name."""
        return [self._current[name] for name in sorted(self._current)]

    def allowed(self, limits: Limits) -> list[ServedPolicy]:
        """What new episodes of somebody with these limits may get, by name."""
        return [served for served in self.current if limits.allow(served.name)]

    def find(self, name: str | None, limits: Limits) -> ServedPolicy:
        """What a new episode gets that asks for a policy by its name, or by none.

        Raises:
            UnknownPolicy: none is served under that name to somebody with these limits, or none was named and
                several are served.
        """
        allowed = {served.name: served for served in self.allowed(limits)}
        names = ", ".join(allowed) or "none"
        if name is None:
            if len(allowed) != 1:
                raise UnknownPolicy(f"name one of the policies served here: {names}")
            return next(iter(allowed.values()))
        served = allowed.get(name)
        if served is None:
            raise UnknownPolicy(f"policy {name!r} is not served here; these are: {names}")
        return served

    def get(self, key: Key) -> ServedPolicy | None:
        """That very revision, if it is loaded."""
        use = self._loaded.get(key)
        return None if use is None else use.served

    def add(self, served: ServedPolicy) -> None:
        """It is loaded."""
        self._loaded[served.key] = _Use(served, time.monotonic())

    def make_current(self, served: ServedPolicy) -> None:
        """New episodes get it from now on; those of the revision before stay with theirs."""
        self._current[served.name] = served

    def withdraw(self, name: str) -> None:
        """New episodes get none of that name any more."""
        del self._current[name]

    def use(self, served: ServedPolicy, ttl_seconds: float = 0.0) -> None:
        """An episode that lives this long after each of its steps uses it now."""
        use = self._loaded.get(served.key)
        if use is not None:
            use.at = time.monotonic()
            use.ttl_seconds = max(use.ttl_seconds, ttl_seconds)

    def unused(self, seconds: float) -> list[Key]:
        """Those that new episodes do not get, and that no episode used for so long."""
        before = time.monotonic() - seconds
        current = {served.key for served in self._current.values()}
        return [key for key, use in self._loaded.items() if key not in current and use.at < before]

    def outlived(self, key: Key) -> bool:
        """Whether every episode that used it here has expired since."""
        use = self._loaded[key]
        return time.monotonic() > use.at + use.ttl_seconds

    def remove(self, key: Key) -> ServedPolicy:
        """It is loaded no longer."""
        return self._loaded.pop(key).served
