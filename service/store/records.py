"""Record: one timestep of an episode as the bytes that Redis keeps, and the digest of what a client sent."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.config import PolicyConfig
from lamo.window import Actions, Timestep

SCHEMA, SHORT_SCHEMA = 1, 2
"""Versions of the record's and the meta hash's layout; an episode of any other is not read.

An episode is written in the oldest that can hold it, so that replicas of the version before read it too. In schema
2 the ring may hold fewer than the last K timesteps, from the meta hash's `first` on.
"""

DIGEST_BYTES = 16

_HEAD = struct.Struct(f"<q{DIGEST_BYTES}sddBq")
"""The first six fields of a record."""

_EXECUTED, _PROPOSED, _OBSERVED_AT = 1, 2, 4

_INTEGER, _NUMBER, _ABSENT = struct.Struct("<q"), struct.Struct("<d"), b"\xff" * 8


@dataclass(frozen=True)
class Record:
    """One immutable timestep.

    Attributes:
        timestep: what the policy's window is made of.
        digest: of the content the client sent for this step.
        observed_at: when the robot saw the observation, Unix ns; None if it did not say.
    """

    timestep: Timestep
    digest: bytes
    observed_at: int | None


class RecordLayout:
    """The fixed-size, little-endian layout of one policy's records in the ring of the last K."""

    def __init__(self, config: PolicyConfig) -> None:
        self.context_length = config.context_length
        action = ("<f4", config.action.shape)
        observation_dtype = {"float32": "<f4", "uint8": "|u1"}[config.observation.dtype]
        self.dtype = np.dtype(
            [
                ("step", "<i8"),
                ("digest", "u1", (DIGEST_BYTES,)),  # the commit script compares bytes 8..24
                ("reward", "<f8"),
                ("return_to_go", "<f8"),
                ("flags", "u1"),
                ("observed_at", "<i8"),
                ("executed_action", *action),
                ("observation", observation_dtype, config.observation.shape),
                ("proposed_action", *action),
            ]
        )
        self._no_action = bytes(self.dtype["executed_action"].itemsize)

    def encode(self, record: Record) -> bytes:
        """The record's bytes, `dtype.itemsize` of them."""
        timestep = record.timestep
        executed, proposed, observed_at = timestep.executed_action, timestep.proposed_action, record.observed_at
        flags = (
            _EXECUTED * (executed is not None)
            | _PROPOSED * (proposed is not None)
            | _OBSERVED_AT * (observed_at is not None)
        )
        head = _HEAD.pack(
            timestep.step, record.digest, timestep.reward, timestep.return_to_go, flags, observed_at or 0
        )
        actions = [
            self._no_action if action is None else action.astype("<f4", copy=False).tobytes()
            for action in (executed, proposed)
        ]
        observation = timestep.observation.astype(self.dtype["observation"].base, copy=False).tobytes()
        return b"".join((head, actions[0], observation, actions[1]))

    def decode(self, stored: bytes) -> Record:
        """The record `encode` wrote."""
        return _record(np.frombuffer(stored, self.dtype, count=1)[0])

    def recent(self, ring: bytes, committed_step: int, first: int = 0) -> list[Record] | None:
        """The last K records up to `committed_step`, oldest first; None if the ring holds another step somewhere.

        That is a torn read: a step was committed between reading the meta hash and reading the ring. There are no
        records before step `first`.
        """
        steps = np.arange(max(first, committed_step - self.context_length + 1), committed_step + 1)
        rows = np.frombuffer(ring, self.dtype, count=len(ring) // self.dtype.itemsize)
        slots = steps % self.context_length
        if len(steps) and (slots.max() >= len(rows) or (rows["step"][slots] != steps).any()):
            return None
        return [_record(rows[slot]) for slot in slots]


def content_digest(*parts: bytes | int | float | NDArray[np.generic] | None) -> bytes:
    """BLAKE2b-128 over canonical values: each part by its length and little-endian bytes, absence told from zero.

    The decoded values count, so the same message in another encoding has the same digest.
    """
    pieces: list[bytes] = []
    for part in parts:
        if part is None:
            pieces.append(_ABSENT)
        else:
            data = _canonical(part)
            pieces += (_INTEGER.pack(len(data)), data)
    return hashlib.blake2b(b"".join(pieces), digest_size=DIGEST_BYTES).digest()


def _canonical(part: bytes | int | float | NDArray[np.generic]) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, np.ndarray):
        return part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes()
    return _INTEGER.pack(part) if isinstance(part, int) else _NUMBER.pack(part)


def _record(row: np.void) -> Record:
    flags = int(row["flags"])

    def action(name: str, flag: int) -> Actions | None:
        return np.array(row[name], np.float32) if flags & flag else None

    return Record(
        Timestep(
            step=int(row["step"]),
            reward=float(row["reward"]),
            return_to_go=float(row["return_to_go"]),
            executed_action=action("executed_action", _EXECUTED),
            observation=np.array(row["observation"]),
            proposed_action=action("proposed_action", _PROPOSED),
        ),
        digest=row["digest"].tobytes(),
        observed_at=int(row["observed_at"]) if flags & _OBSERVED_AT else None,
    )
