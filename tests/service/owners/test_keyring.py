"""A key is recognised by its id and proves itself by its hash, whether the id is known or not."""

from __future__ import annotations

import hmac
import re

import pytest

from service.callers import NO_LIMITS, Limits
from service.owners.keyring import Grant, Keyring, KnownKey
from service.owners.keys import id_of, key_hash, new_key


def known(key: str, owner: str = "lab", *scopes: str, limits: Limits = NO_LIMITS) -> tuple[str, KnownKey]:
    grant = Grant(id_of(key), owner, frozenset(scopes or ("act",)), limits)
    return grant.key_id, KnownKey(key_hash(key), grant)


def test_keys_have_a_public_id_and_256_random_bits():
    (first_id, first), (second_id, second) = new_key(), new_key()
    assert re.fullmatch(r"lamo_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", first)
    assert id_of(first) == first_id != second_id
    assert first.split("_", 2)[2] != second.split("_", 2)[2]


def test_only_the_whole_key_is_known():
    _, key = new_key()
    keyring = Keyring(dict([known(key)]))
    assert keyring.grant(key).owner == "lab"
    other = "B" if key[-2] == "A" else "A"
    for wrong in (key[:-1], key + "A", key.upper(), f" {key}", key[:-2] + other + key[-1], "", "lamo_", "é" * 60):
        assert keyring.grant(wrong) is None


@pytest.fixture
def compared(monkeypatch) -> list[tuple[bytes, bytes]]:
    """What is compared, by a comparison that still is the library's."""
    pairs = []
    original = hmac.compare_digest

    def compare_digest(one, other):
        pairs.append((one, other))
        return original(one, other)

    monkeypatch.setattr("service.owners.keyring.hmac.compare_digest", compare_digest)
    return pairs


def test_known_and_unknown_ids_cost_the_same_comparison(compared):
    key_id, key = new_key()
    keyring = Keyring(dict([known(key)]))
    _, stranger = new_key()
    wrong_secret = f"lamo_{key_id}_{'x' * 43}"
    for sent, admitted in ((key, True), (wrong_secret, False), (stranger, False)):
        assert (keyring.grant(sent) is not None) == admitted
    assert [one for one, _ in compared] == [key_hash(key), key_hash(wrong_secret), key_hash(stranger)]
    assert [len(other) for _, other in compared] == [32, 32, 32]


def test_what_changed_between_two_files_is_told_by_key():
    keys = [new_key()[1] for _ in range(4)]
    before = Keyring(dict(known(key) for key in keys[:3]))
    narrower = known(keys[2], "lab", "act", limits=Limits(in_flight=2))
    after = Keyring(dict([known(keys[1]), narrower, known(keys[3])]))
    changes = {(event, grant.key_id) for event, grant in before.changes_to(after)}
    assert changes == {
        ("key removed", id_of(keys[0])),
        ("key changed", id_of(keys[2])),
        ("key added", id_of(keys[3])),
    }


def test_nothing_that_is_printed_shows_a_hash():
    _, key = new_key()
    _, kept = known(key)
    assert key_hash(key).hex() not in repr(kept)
    assert repr(kept.digest) not in repr(kept)
