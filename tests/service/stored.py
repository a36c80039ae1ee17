"""Stored: episodes, records and commits as small as the store's scripts allow."""

from __future__ import annotations

from typing import Any

from service.callers import LOCAL_OWNER, EpisodeName
from service.store.episodes import Commit, EpisodeMeta

K = 3
RECORD_BYTES = 30


def meta_of(episode_id: str, **changes: Any) -> EpisodeMeta:
    fields = {
        "name": EpisodeName(LOCAL_OWNER, episode_id),
        "policy": "small",
        "revision": "0123456789ab",
        "hop": 2,
        "dtype": "float32",
        "target_return": 0.1 + 0.2,
        "return_to_go": 0.1 + 0.2,
        "ttl_seconds": 60,
        "labels": {"robot": 'ä"\n'},
    }
    return EpisodeMeta(**fields | changes)


def record_of(step: int, content: int) -> bytes:
    """What the scripts look at is the step, the digest and the length."""
    return step.to_bytes(8, "little") + content.to_bytes(16, "little") + b"\x00\xff\r\n\x01\x02"


def records_of(first: int, contents: list[int]) -> tuple[bytes, ...]:
    return tuple(record_of(first + offset, content) for offset, content in enumerate(contents))


def commit_of(meta: EpisodeMeta, first: int, contents: list[int]) -> Commit:
    return Commit(meta.name, meta.epoch, first, K, 1.5, -0.25, records_of(first, contents))
