"""The record codec and the digest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamo.window import Timestep
from service.store.records import Record, RecordLayout, content_digest


def record(step: int, seed: int = 0, *, executed: bool = False, proposed: bool = True) -> Record:
    generator = np.random.default_rng([step, seed])
    return Record(
        Timestep(
            step=step,
            reward=float(generator.normal()),
            return_to_go=float(generator.normal()) * 1e9,
            executed_action=generator.normal(size=2).astype(np.float32) if executed else None,
            observation=generator.normal(size=5).astype(np.float32),
            proposed_action=generator.normal(size=2).astype(np.float32) if proposed else None,
        ),
        digest=generator.bytes(16),
        observed_at=None if step % 2 else 2**62 + step,
    )


def same(left: Record, right: Record) -> bool:
    for name, value in vars(left.timestep).items():
        other = getattr(right.timestep, name)
        if isinstance(value, np.ndarray):
            if other is None or value.dtype != other.dtype or value.tobytes() != other.tobytes():
                return False
        elif value != other:
            return False
    return (left.digest, left.observed_at) == (right.digest, right.observed_at)


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("proposed", [False, True])
def test_a_record_comes_back_bit_for_bit(config, executed, proposed):
    layout = RecordLayout(config)
    for step in (0, 1, 2**31 - 1):
        written = record(step, executed=executed, proposed=proposed)
        stored = layout.encode(written)
        assert len(stored) == layout.dtype.itemsize
        assert same(layout.decode(stored), written)


def test_the_layout_is_what_earlier_versions_wrote(config):
    stored = RecordLayout(config).encode(
        Record(
            Timestep(
                step=3,
                reward=1.5,
                return_to_go=-2.0,
                executed_action=np.array([1.0, 2.0], np.float32),
                observation=np.array([0.0, 1.0, 2.0, 3.0, 4.0], np.float32),
                proposed_action=None,
            ),
            digest=bytes(range(16)),
            observed_at=7,
        )
    )
    assert stored.hex() == (
        "0300000000000000"  # step
        "000102030405060708090a0b0c0d0e0f"  # digest
        "000000000000f83f"  # reward
        "00000000000000c0"  # return-to-go
        "05"  # flags: executed, observed_at
        "0700000000000000"  # observed_at
        "0000803f00000040"  # executed action
        "000000000000803f000000400000404000008040"  # observation
        "0000000000000000"  # no proposed action
    )


@settings(deadline=None, max_examples=60)
@given(steps=st.integers(0, 40))
def test_a_ring_gives_the_last_records_in_order(config, steps):
    layout = RecordLayout(config)
    size, ring = layout.dtype.itemsize, bytearray()
    for step in range(steps):
        at = (step % layout.context_length) * size
        ring[at : at + size] = layout.encode(record(step))
    records = layout.recent(bytes(ring), steps - 1)
    expected = range(max(0, steps - layout.context_length), steps)
    assert [item.timestep.step for item in records] == list(expected)
    assert all(same(item, record(step)) for item, step in zip(records, expected, strict=True))


@pytest.mark.parametrize("committed_step", [2, 5, 11])
def test_a_ring_that_is_a_step_newer_or_shorter_than_the_meta_hash_is_torn(config, committed_step):
    layout = RecordLayout(config)
    size, ring = layout.dtype.itemsize, bytearray()
    for step in range(committed_step + 2):
        at = (step % layout.context_length) * size
        ring[at : at + size] = layout.encode(record(step))
    if committed_step + 1 >= layout.context_length:  # the newer record took the oldest one's place
        assert layout.recent(bytes(ring), committed_step) is None
    else:
        assert layout.recent(bytes(ring), committed_step) is not None
    assert layout.recent(bytes(ring[: 2 * size]), committed_step) is None


def test_an_episode_without_steps_has_no_records(config):
    assert RecordLayout(config).recent(b"", -1) == []


def test_the_digest_tells_absence_from_zero_and_one_field_from_the_next():
    zeros = np.zeros(2, np.float32)
    digests = {
        content_digest(b"act", 1, 0.0, None, zeros),
        content_digest(b"act", 1, 0.0, zeros, None),
        content_digest(b"act", 1, 0.0, zeros, zeros),
        content_digest(b"act", 1, None, zeros, zeros),
        content_digest(b"act", 1, 0.0, np.zeros(4, np.float32)),
        content_digest(b"end", 1, 0.0, None, zeros),
        content_digest(b"act", 2, 0.0, None, zeros),
    }
    assert len(digests) == 7
    assert {len(digest) for digest in digests} == {16}


def test_the_digest_is_of_values_not_of_byte_order():
    values = np.array([1.5, -2.25], np.float32)
    assert content_digest(values) == content_digest(values.astype(">f4"))
