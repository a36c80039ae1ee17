"""Unavailable: what Redis fails with, under this service's own name."""

from __future__ import annotations

import re

from redis.exceptions import ResponseError

from lamo.errors import StoreUnavailable

RETRY_AFTER_MS = 200

_IN_A_SCRIPT = re.compile(r"^Error running script .*: @user_script: ?\d+: -")
"""What Redis 6.2 puts before a refusal met by a script."""


def unavailable(error: Exception) -> StoreUnavailable:
    """A failure of Redis under this service's own name, with what Redis said but for what it was told.

    LOADING, READONLY, MISCONF, OOM, CLUSTERDOWN, TRYAGAIN, NOAUTH, NOPERM, WRONGPASS and whatever else it says
    instead of running a command are refusals; anything else leaves open whether the command ran.
    """
    if isinstance(error, StoreUnavailable):
        return error
    # A Redis or a proxy that does not know HELLO says it back with the password.
    sentence = str(error).strip().partition(", with args")[0]
    status = getattr(error, "status_code", None)
    if status is not None or isinstance(error, ResponseError):
        named, in_a_script = _IN_A_SCRIPT.subn("", sentence)
        if status and not in_a_script:
            named = f"{status} {sentence}"
        return StoreUnavailable(f"the episode store refused: {named}", retry_after_ms=RETRY_AFTER_MS)
    if not sentence:
        sentence = "not in time" if isinstance(error, TimeoutError) else type(error).__name__
    return StoreUnavailable(
        f"the episode store did not answer ({sentence}); the step may or may not be committed, "
        "send the same request again",
        retry_after_ms=RETRY_AFTER_MS,
    )
