"""The keys file while the service runs: changes hold, half-written files and broken ones change nothing."""

from __future__ import annotations

import asyncio
import logging

import pytest

from lamo.errors import ConfigError
from service.owners import keys_file
from service.owners.keys_file import KeysFile, opened, watched
from tests.service.keyholders import KeysOnDisk, audited


@pytest.fixture
def disk(tmp_path) -> KeysOnDisk:
    return KeysOnDisk(tmp_path / "keys.toml")


def look_twice(keys: KeysFile) -> None:
    """Once to see a change, once to see that it is over."""
    keys.look()
    keys.look()


def known(keys: KeysFile, *held: str) -> list[bool]:
    return [keys.keyring.grant(key) is not None for key in held]


def test_added_and_removed_keys_hold_and_are_told(disk, caplog):
    caplog.set_level(logging.INFO, "lamo.audit")
    old = disk.add("lab")
    keys = opened(disk.path)
    new = disk.add("lab", "read")
    assert known(keys, old, new) == [True, False]
    look_twice(keys)
    assert known(keys, old, new) == [True, True]
    disk.remove(old)
    look_twice(keys)
    assert known(keys, old, new) == [False, True]
    told = [(line["event"], line.get("owner"), line.get("key_id")) for line in audited(caplog)]
    old_id, new_id = old.split("_")[1], new.split("_")[1]
    assert told == [("keys read", None, None), ("key added", "lab", new_id), ("key removed", "lab", old_id)]
    assert audited(caplog)[0]["owners"] == audited(caplog)[0]["keys"] == 1
    assert old not in caplog.text
    assert new not in caplog.text


def test_a_file_that_is_being_written_is_left_alone_until_it_stays_as_it_is(disk):
    """In place, in two writes, cut where the first half alone is a good file with a key less."""
    kept, cut_off = disk.add("lab"), disk.add("lab")
    keys = opened(disk.path)
    text = disk.path.read_text()
    half = text.rindex("[[owners.lab.keys]]")
    with disk.path.open("w") as file:
        file.write(text[:half])
        file.flush()
        keys.look()
        assert known(keys, kept, cut_off) == [True, True]
        file.write(text[half:])
    look_twice(keys)
    assert known(keys, kept, cut_off) == [True, True]


@pytest.mark.parametrize(
    "broken",
    ["[owners", "", "[owners.lab]\nlimit = 3\n", "a = " + 10_000 * "[", None],
    ids=lambda broken: str(broken)[:9],
)
def test_a_broken_file_locks_nobody_out_and_lets_nobody_in_and_is_told_once(disk, broken, caplog):
    held = disk.add("lab")
    keys = opened(disk.path)
    good = disk.path.read_bytes()
    if broken is None:
        disk.path.unlink()
    else:
        disk.path.write_text(broken)
    for _ in range(5):
        keys.look()
    assert known(keys, held) == [True]
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.message for record in told] == ["keys file cannot be used, the keys before stay"]
    assert str(disk.path) in told[0].reason

    disk.path.write_bytes(good)
    later = disk.add("lab")
    look_twice(keys)
    assert known(keys, held, later) == [True, True]


def test_taking_back_the_last_key_holds(disk):
    held = disk.add("lab")
    keys = opened(disk.path)
    disk.remove(held)
    look_twice(keys)
    assert known(keys, held) == [False]


def test_a_file_that_cannot_be_used_is_refused_at_the_start(disk):
    with pytest.raises(ConfigError, match="No such file"):
        opened(disk.path)
    assert opened(None) is None


@pytest.mark.anyio
async def test_it_is_watched_beside_the_event_loop(disk, monkeypatch):
    monkeypatch.setattr(keys_file, "LOOK_SECONDS", 0.01)
    held = disk.add("lab")
    keys = opened(disk.path)
    async with watched(keys):
        later = disk.add("lab")
        disk.remove(held)
        async with asyncio.timeout(5):
            while known(keys, held, later) != [False, True]:
                await asyncio.sleep(0.01)
    after = disk.add("lab")
    await asyncio.sleep(0.05)
    assert known(keys, after) == [False]


@pytest.mark.anyio
async def test_a_look_that_fails_is_not_the_last_one(disk, monkeypatch, caplog):
    held = disk.add("lab")
    keys = opened(disk.path)
    monkeypatch.setattr(keys_file, "LOOK_SECONDS", 0.01)
    read_keyring = keys_file.read_keyring

    def short_of_memory(path):
        monkeypatch.setattr(keys_file, "read_keyring", read_keyring)
        raise MemoryError

    monkeypatch.setattr(keys_file, "read_keyring", short_of_memory)
    later = disk.add("lab")
    async with watched(keys):
        async with asyncio.timeout(5):
            while known(keys, held, later) != [True, True]:
                await asyncio.sleep(0.01)
    assert "the keys file could not be looked at" in caplog.text
