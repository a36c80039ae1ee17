"""Keys: what callers prove themselves with; how one is made, recognised, and kept as a hash only."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Literal

Scope = Literal["act", "read", "admin"]

ID_PATTERN = r"^[0-9a-f]{12}$"

_SECRET_BYTES = 32

_KEY = re.compile(r"lamo_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


def new_key() -> tuple[str, str]:
    """A fresh key's public id, and the key itself: `lamo_<id>_<256 random bits>`."""
    key_id = secrets.token_hex(6)
    return key_id, f"lamo_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def id_of(key: str) -> str | None:
    """The public id in a key, None if this is no key of ours."""
    match = _KEY.fullmatch(key)
    return None if match is None else match[1]


def key_hash(key: str) -> bytes:  # [32]
    """SHA-256 of a key, all that is kept of it.

    Slow hashes protect what people make up. Nobody guesses 256 random bits however fast the hash is, and a robot's
    key is hashed at every step.
    """
    return hashlib.sha256(key.encode()).digest()
