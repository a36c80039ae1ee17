"""Episodes: the recorded truth of every episode in Redis, two keys each; scripts decide, this module translates.

    lamo:{<owner>/<id>}:meta   hash: who it is, where it stands
    lamo:{<owner>/<id>}:ring   string: the last K records, record of step s at slot s mod K

Both keys lie in one hash slot, expire together, and are renewed by every commit.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from lamo.errors import StoreUnavailable
from service.callers import EpisodeName
from service.store.records import SCHEMA, SHORT_SCHEMA
from service.store.scripts import Arguments, Call, Script
from service.store.store import Store

Answered = TypeVar("Answered")

_START = Script.read("start")
_COMMIT, _END, _RESTORE = (Script.read("records", name) for name in ("commit", "end", "restore"))


@dataclass(frozen=True)
class EpisodeMeta:
    """Who an episode is and where it stands.

    Attributes:
        epoch: random, minted when the episode began or was restored; tells it from an earlier one of its name.
        first: the ring holds no step before this one; 0 unless it was restored from less than it should hold.
        hop, dtype: the policy's when the episode began; they stay with it.
        committed_step: the last recorded step, -1 before the first.
        target_return, return_to_go, episode_return: raw.
        created, expires_at: Unix seconds.
        summary: the answer to the request that ended it, as JSON; None while it goes on.
    """

    name: EpisodeName
    policy: str
    revision: str
    hop: int
    dtype: str
    target_return: float
    return_to_go: float
    ttl_seconds: int
    labels: dict[str, str] = field(default_factory=dict)
    epoch: str = field(default_factory=lambda: secrets.token_hex(8))
    committed_step: int = -1
    first: int = 0
    episode_return: float = 0.0
    created: float = field(default_factory=time.time)
    expires_at: float = 0.0
    summary: str | None = None

    @property
    def episode_id(self) -> str:
        """What its owner calls it."""
        return self.name.id

    @property
    def ended(self) -> bool:
        """Whether the episode takes no further acts."""
        return self.summary is not None


@dataclass(frozen=True)
class StoredEpisode:
    """An episode as read: `ring` may be one step newer than `meta`, see `RecordLayout.read`."""

    meta: EpisodeMeta
    ring: bytes


class StartOutcome(StrEnum):
    """What became of a start."""

    STARTED = "started"
    SAME = "same"
    EXISTS = "exists"


class Verdict(StrEnum):
    """What a script decided."""

    RESTORED = "restored"
    EXISTS = "exists"
    AHEAD = "ahead"
    COMMITTED = "committed"
    REPLAY = "replay"
    CHANGED = "changed"
    GAP = "gap"
    TOO_OLD = "too_old"
    ENDED = "ended"
    MISSING = "missing"
    OTHER_EPOCH = "other_epoch"


@dataclass(frozen=True)
class Commit:
    """Consecutive records to append to an episode, and its sums after the last of them."""

    name: EpisodeName
    epoch: str
    first_step: int
    context_length: int
    episode_return: float
    return_to_go: float
    records: tuple[bytes, ...]


@dataclass(frozen=True)
class Ending:
    """The end of an episode: the step that would come next, its sums and its summary, and the records to append."""

    name: EpisodeName
    epoch: str
    step: int
    digest: bytes
    context_length: int
    episode_return: float
    return_to_go: float
    summary: str
    records: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Restoration:
    """An episode as of its last record, and its last records: `meta.committed_step` is the last one's step."""

    meta: EpisodeMeta
    digest: bytes
    context_length: int
    records: tuple[bytes, ...]


@dataclass(frozen=True)
class Decision:
    """A script's answer: where the episode stands, and what is stored where that decides."""

    verdict: Verdict
    committed_step: int
    stored: bytes | None = None


class Episodes:
    """Reads and writes episodes; every method raises StoreUnavailable if Redis does not do its part."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def start(self, meta: EpisodeMeta, digest: bytes) -> StartOutcome:
        """Start an episode unless one lives under its id; `digest` tells a repeated start from another."""
        fields = _fields(meta)
        pairs = tuple(item for pair in fields.items() for item in pair)
        call = Call(_START, keys(meta.name), (digest.hex(), meta.ttl_seconds, *pairs))
        [answer] = await self._store.run([call])
        return StartOutcome(_raised(answer).decode())

    async def restore(self, restoration: Restoration) -> Decision:
        """Put an episode where there is none, or one that stands at or behind its last record."""
        meta, records = restoration.meta, restoration.records
        pairs: Arguments = tuple(item for pair in _fields(meta).items() for item in pair)
        head: Arguments = (
            meta.committed_step - len(records) + 1,
            restoration.context_length,
            meta.policy,
            meta.revision,
        )
        tail: Arguments = (restoration.digest.hex(), meta.ttl_seconds, len(pairs), *pairs, *records)
        [answer] = await self._store.run([Call(_RESTORE, keys(meta.name), head + tail)])
        return _raised(_decision(answer))

    async def read(self, names: Sequence[EpisodeName]) -> list[StoredEpisode | StoreUnavailable | None]:
        """Episodes with their rings, one round trip for all; each stands alone.

        None for one that is unknown or has expired, the failure for one that this service cannot read.
        """
        found = await self._store.read_each([_read_commands(*keys(name)) for name in names])
        return [
            answer if isinstance(answer, StoreUnavailable) else _stored(name, *answer)
            for name, answer in zip(names, found, strict=True)
        ]

    async def commit(self, commits: Sequence[Commit]) -> list[Decision | StoreUnavailable]:
        """Commit a batch in one round trip; each stands alone."""
        answers = await self._store.run([_commit_call(commit) for commit in commits])
        return [_decision(answer) for answer in answers]

    async def end(self, ending: Ending) -> Decision:
        """End an episode; the same ending again is a replay."""
        arguments: Arguments = (
            ending.epoch,
            ending.step,
            ending.digest.hex(),
            repr(ending.episode_return),
            repr(ending.return_to_go),
            ending.summary,
            ending.context_length,
            *ending.records,
        )
        [answer] = await self._store.run([Call(_END, keys(ending.name), arguments)])
        return _raised(_decision(answer))

    async def delete(self, name: EpisodeName) -> bool:
        """Forget an episode; whether it was there."""
        [deleted] = await self._store.read([("DEL", *keys(name))])
        return bool(deleted)


def keys(name: EpisodeName) -> tuple[str, str]:
    """The keys of an episode; the only place that makes them."""
    tag = f"lamo:{{{name.owner}/{name.id}}}"
    return f"{tag}:meta", f"{tag}:ring"


def _read_commands(meta: str, ring: str) -> list[Arguments]:
    return [("HGETALL", meta), ("PTTL", meta), ("GET", ring)]


def _fields(meta: EpisodeMeta) -> dict[str, str | int]:
    """What a new episode's meta hash holds beside start digest and ttl. `repr` gives every float64 back exactly."""
    fields: dict[str, str | int] = {
        "schema": SHORT_SCHEMA if meta.first else SCHEMA,
        "epoch": meta.epoch,
        "policy": meta.policy,
        "revision": meta.revision,
        "hop": meta.hop,
        "dtype": meta.dtype,
        "labels": json.dumps(meta.labels),
        "step": meta.committed_step,
        "target_return": repr(meta.target_return),
        "return_to_go": repr(meta.return_to_go),
        "episode_return": repr(meta.episode_return),
        "created": repr(meta.created),
        "ended": 0,
    }
    return fields | ({"first": meta.first} if meta.first else {})


def _stored(
    name: EpisodeName, raw: dict[bytes, bytes], remaining_ms: int, ring: bytes | None
) -> StoredEpisode | StoreUnavailable | None:
    if not raw or remaining_ms < 0:
        return None
    try:
        fields = {field.decode(): value.decode() for field, value in raw.items()}
        if fields["schema"] not in (str(SCHEMA), str(SHORT_SCHEMA)):
            return StoreUnavailable(
                f"episode {name.id!r} has schema {fields['schema']}, this service reads {SCHEMA} and {SHORT_SCHEMA}"
            )
        return StoredEpisode(_meta(name, fields, remaining_ms), ring or b"")
    except (KeyError, ValueError) as error:  # no reason to fail others' episodes
        return StoreUnavailable(f"the record of episode {name.id!r} is damaged: {type(error).__name__} {error}")


def _meta(name: EpisodeName, fields: Mapping[str, str], remaining_ms: int) -> EpisodeMeta:
    return EpisodeMeta(
        name=name,
        policy=fields["policy"],
        revision=fields["revision"],
        hop=int(fields["hop"]),
        dtype=fields["dtype"],
        target_return=float(fields["target_return"]),
        return_to_go=float(fields["return_to_go"]),
        ttl_seconds=int(fields["ttl"]),
        labels=json.loads(fields["labels"]),
        epoch=fields["epoch"],
        committed_step=int(fields["step"]),
        first=int(fields.get("first", 0)),
        episode_return=float(fields["episode_return"]),
        created=float(fields["created"]),
        expires_at=time.time() + remaining_ms / 1000,
        summary=fields.get("summary"),
    )


def _commit_call(commit: Commit) -> Call:
    sums = (repr(commit.episode_return), repr(commit.return_to_go))
    head: Arguments = (commit.epoch, commit.first_step, commit.context_length, *sums)
    return Call(_COMMIT, keys(commit.name), head + commit.records)


def _decision(answer: Any | StoreUnavailable) -> Decision | StoreUnavailable:
    if isinstance(answer, StoreUnavailable):
        return answer
    verdict, committed_step, *stored = answer
    return Decision(Verdict(verdict.decode()), committed_step, stored[0] if stored else None)


def _raised(answer: Answered | StoreUnavailable) -> Answered:
    if isinstance(answer, StoreUnavailable):
        raise answer
    return answer
