"""The store's edges on a real Redis, one by one; test_store_machine.py has whole lives."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets

import pytest

from lamo.errors import ConfigError, StoreUnavailable
from service.callers import EpisodeName
from service.store.episodes import Episodes, StartOutcome, Verdict, keys
from tests.service.conftest import open_store
from tests.service.stored import commit_of, meta_of


@pytest.fixture(params=["embedded", "newer", "cluster"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(
        {"embedded": "redis_url", "newer": "newer_redis_url", "cluster": "cluster_url"}[request.param]
    )


@pytest.mark.anyio
async def test_both_keys_expire_and_every_commit_renews_them(any_redis_url):
    async with open_store(any_redis_url) as store:
        episodes, meta = Episodes(store), meta_of(secrets.token_hex(8), ttl_seconds=60)
        await episodes.start(meta, b"x")
        await episodes.commit([commit_of(meta, 0, [1])])
        meta_key, ring_key = keys(meta.name)
        await store.read([("EXPIRE", meta_key, 5), ("EXPIRE", ring_key, 5)])
        await episodes.commit([commit_of(meta, 1, [1])])
        lifetimes = await store.read([("TTL", meta_key), ("TTL", ring_key)])
        assert all(55 < seconds <= 60 for seconds in lifetimes)
        [stored] = await episodes.read([meta.name])
        await store.read([("PEXPIRE", meta_key, 1), ("PEXPIRE", ring_key, 1)])
        await asyncio.sleep(0.02)
        assert await episodes.read([meta.name]) == [None]
        [decision] = await episodes.commit([commit_of(stored.meta, 2, [1])])
        assert decision.verdict is Verdict.MISSING


@pytest.mark.anyio
async def test_scripts_that_redis_forgot_are_sent_again(any_redis_url):
    async with open_store(any_redis_url) as store:
        episodes, meta = Episodes(store), meta_of(secrets.token_hex(8))
        await store.read([("SCRIPT", "FLUSH")])
        assert await episodes.start(meta, b"x") is StartOutcome.STARTED
        await store.read([("SCRIPT", "FLUSH")])
        other = dataclasses.replace(meta, name=EpisodeName("team", "nobody"))
        decisions = await episodes.commit([commit_of(meta, 0, [1]), commit_of(other, 0, [1])])
        assert [decision.verdict for decision in decisions] == [Verdict.COMMITTED, Verdict.MISSING]


@pytest.mark.anyio
async def test_each_commit_of_a_batch_stands_alone(redis_url):
    async with open_store(redis_url) as store:
        episodes = Episodes(store)
        metas = [meta_of(secrets.token_hex(8)) for _ in range(3)]
        for meta in metas:
            await episodes.start(meta, b"x")
        await store.read([("SET", keys(metas[1].name)[0], "no hash")])
        decisions = await episodes.commit([commit_of(meta, 0, [1]) for meta in metas])
        assert isinstance(decisions[1], StoreUnavailable)
        assert [decisions[index].verdict for index in (0, 2)] == [Verdict.COMMITTED] * 2
        await episodes.delete(metas[1].name)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("command", "undo", "name"),
    [
        (
            ("CONFIG", "SET", "min-replicas-to-write", "1"),
            ("CONFIG", "SET", "min-replicas-to-write", "0"),
            "NOREPLICAS",
        ),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "OOM"),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "READONLY"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_redis_refuses_is_store_unavailable_by_name(redis_url, command, undo, name):
    async with open_store(redis_url) as store:
        episodes, meta = Episodes(store), meta_of(secrets.token_hex(8))
        await episodes.start(meta, b"x")
        await store.read([command])
        try:
            [decision] = await episodes.commit([commit_of(meta, 0, [1])])
        finally:
            await store.read([undo])
        assert isinstance(decision, StoreUnavailable)
        assert name in decision.detail
        assert decision.retry_after_ms
        [decision] = await episodes.commit([commit_of(meta, 0, [1])])
        assert decision.verdict is Verdict.COMMITTED


@pytest.mark.anyio
async def test_a_redis_that_is_not_there_is_told_at_once(tmp_path):
    async with open_store(f"unix://{tmp_path}/nobody.sock") as store:
        async with asyncio.timeout(2):
            with pytest.raises(StoreUnavailable, match="did not answer"):
                await Episodes(store).read([EpisodeName("team", "a")])
        assert store.metrics.registry.get_sample_value("lamo_redis_up") == 0


@pytest.mark.anyio
async def test_a_redis_that_says_nothing_is_given_up_in_time(tmp_path):
    tries = []

    async def silent(reader, writer):
        tries.append(writer)
        await reader.read()
        writer.close()

    path = tmp_path / "silent.sock"
    async with (
        await asyncio.start_unix_server(silent, path),
        open_store(f"unix://{path}", timeout_seconds=0.2) as store,
        asyncio.timeout(3),
    ):
        with pytest.raises(StoreUnavailable, match="may or may not be committed"):
            await Episodes(store).commit([commit_of(meta_of("a"), 0, [1])])
        assert len(tries) == 1  # a second one would have a time of its own


@pytest.mark.anyio
async def test_an_episode_of_another_schema_is_not_read_and_keeps_nobody_else_from_being_read(redis_url):
    async with open_store(redis_url) as store:
        episodes, newer, ours = Episodes(store), meta_of(secrets.token_hex(8)), meta_of(secrets.token_hex(8))
        for meta in (newer, ours):
            await episodes.start(meta, b"x")
        await store.read([("HSET", keys(newer.name)[0], "schema", "3")])
        refused, read = await episodes.read([newer.name, ours.name])
        assert isinstance(refused, StoreUnavailable)
        assert "schema 3, this service reads 1 and 2" in refused.detail
        assert read.meta.epoch == ours.epoch


@pytest.mark.anyio
@pytest.mark.parametrize(
    "damage",
    [
        ("HDEL", "schema"),
        ("HDEL", "epoch"),
        ("HSET", "step", "none"),
        ("HSET", "labels", "{"),
        ("HSET", "policy", b"\xff"),
    ],
    ids=str,
)
async def test_a_damaged_record_keeps_nobody_else_from_being_read(redis_url, damage):
    async with open_store(redis_url) as store:
        episodes, theirs, ours = Episodes(store), meta_of(secrets.token_hex(8)), meta_of(secrets.token_hex(8))
        for meta in (theirs, ours):
            await episodes.start(meta, b"x")
        await store.read([(damage[0], keys(theirs.name)[0], *damage[1:])])
        damaged, read = await episodes.read([theirs.name, ours.name])
        assert isinstance(damaged, StoreUnavailable)
        assert f"the record of episode '{theirs.episode_id}' is damaged" in damaged.detail
        assert read.meta.epoch == ours.epoch


@pytest.mark.anyio
async def test_what_is_no_redis_url_is_refused_without_its_password():
    with pytest.raises(ConfigError, match="redis_url cannot be used") as refused:
        async with open_store("ftp://robot:secret@host"):
            pass
    assert "secret" not in str(refused.value)
