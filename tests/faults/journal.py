"""Journal: every step that Redis ever wrote down, in its order, read from the append-only file."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hiredis

from lamo.config import PolicyConfig
from service.store.records import Record, RecordLayout

PART_BYTES = 1_048_576

KEY = re.compile(rb"^lamo:\{[^/]+/(?P<episode>.+)\}:(?P<part>meta|ring)$")


@dataclass
class Recorded:
    """What one episode's keys were given, one life after the other: a start or a restore begins a life.

    Attributes:
        written: how often each step was written, per life.
        records: what was last written for each step, in all lives.
        episode_return: as it stands now.
    """

    written: list[Counter[int]] = field(default_factory=list)
    records: dict[int, Record] = field(default_factory=dict)
    episode_return: float = 0.0

    @property
    def doubled(self) -> int:
        """How many steps were written although they were written before, in the same life."""
        return sum(count - 1 for life in self.written for count in life.values())


def read_journal(files: Sequence[Path], config: PolicyConfig) -> dict[str, Recorded]:
    """By episode id.

    Args:
        config: of the policy that played all of them; it decides how long a record is.
    """
    journal: dict[str, Recorded] = defaultdict(Recorded)
    layout = RecordLayout(config)
    for file in files:
        for command in _commands(file):
            named = KEY.match(command[1]) if len(command) > 2 else None
            if named is not None:
                _take(journal[named["episode"].decode()], command, layout)
    return journal


def _take(recorded: Recorded, command: list[bytes], layout: RecordLayout) -> None:
    match [command[0].upper(), *command[2:]]:
        case [b"HSET" | b"HMSET", *pairs]:
            _take_fields(recorded, dict(zip(pairs[::2], pairs[1::2], strict=True)))
        case [b"SETRANGE", _, written] | [b"SET", written]:
            _take_records(recorded, written, layout)


def _take_fields(recorded: Recorded, fields: dict[bytes, bytes]) -> None:
    if b"epoch" in fields:
        recorded.written.append(Counter())
    if b"episode_return" in fields:
        recorded.episode_return = float(fields[b"episode_return"])


def _take_records(recorded: Recorded, written: bytes, layout: RecordLayout) -> None:
    size = layout.dtype.itemsize
    assert len(written) % size == 0, f"{len(written)} bytes are no records of {size}"
    for start in range(0, len(written), size):
        if not recorded.written:  # a file that was begun anew with what was stored, in any order
            recorded.written.append(Counter())
        record = layout.decode(written[start : start + size])
        recorded.records[record.timestep.step] = record
        recorded.written[-1][record.timestep.step] += 1


def _commands(file: Path) -> Iterator[list[bytes]]:
    """Each command of a file; one that is cut off at the end is left out, as Redis does."""
    reader = hiredis.Reader()
    with file.open("rb") as opened:
        while part := opened.read(PART_BYTES):
            reader.feed(part)
            while (command := reader.gets()) is not False:
                yield command
