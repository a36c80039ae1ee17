"""Episode ids: the names under which clients start episodes."""

from __future__ import annotations

import secrets

EPISODE_ID_BYTES = 20


def new_episode_id() -> str:
    """A random id: a repeated start finds the episode it made, and nobody else's."""
    return secrets.token_urlsafe(EPISODE_ID_BYTES)
