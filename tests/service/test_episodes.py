"""The store on a real Redis, as a state machine against a dictionary, and its edges one by one."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from lamo.errors import ConfigError, StoreUnavailable
from service.callers import EpisodeName
from service.episodes import Commit, Ending, EpisodeMeta, Episodes, StartOutcome, Verdict, keys
from tests.service.conftest import open_store

K = 3
RECORD_BYTES = 30


def meta_of(episode_id: str, **changes) -> EpisodeMeta:
    fields = {
        "name": EpisodeName("team", episode_id),
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


def commit_of(meta: EpisodeMeta, first: int, contents: list[int]) -> Commit:
    records = tuple(record_of(first + offset, content) for offset, content in enumerate(contents))
    return Commit(meta.name, meta.epoch, first, K, 1.5, -0.25, records)


@pytest.fixture(params=["embedded", "newer", "cluster"])
def any_redis_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(
        {"embedded": "redis_url", "newer": "newer_redis_url", "cluster": "cluster_url"}[request.param]
    )


class Model:
    """What a dictionary would do."""

    def __init__(self, meta: EpisodeMeta, start: int) -> None:
        self.meta = meta
        self.start = start
        self.contents: list[int] = []
        self.ending: tuple[int, int] | None = None

    @property
    def committed(self) -> int:
        return len(self.contents) - 1

    def commit(self, first: int, contents: list[int]) -> tuple[Verdict, int]:
        last = first + len(contents) - 1
        if first > self.committed + 1:
            return Verdict.GAP, self.committed
        if last <= self.committed - K:
            return Verdict.TOO_OLD, self.committed
        for step in range(max(first, self.committed - K + 1), min(last, self.committed) + 1):
            if self.contents[step] != contents[step - first]:
                return Verdict.CHANGED, self.committed
        if last <= self.committed:
            return Verdict.REPLAY, self.committed
        if self.ending is not None:
            return Verdict.ENDED, self.committed
        self.contents += contents[self.committed + 1 - first :]
        return Verdict.COMMITTED, self.committed

    def end(self, step: int, content: int) -> Verdict:
        if self.ending is not None:
            return Verdict.REPLAY if self.ending == (step, content) else Verdict.CHANGED
        if step > self.committed + 1:
            return Verdict.GAP
        if step <= self.committed:
            return Verdict.TOO_OLD
        self.ending = (step, content)
        return Verdict.COMMITTED


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of starts, commits, ends and deletes leaves Redis where it leaves a dictionary."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = open_store(self.url)
        self.episodes = Episodes(self.runner.run(self.opened.__aenter__()))
        self.ids = [f"machine-{secrets.token_hex(6)}" for _ in range(2)]
        self.models: dict[str, Model] = {}
        self.old_metas: dict[str, EpisodeMeta] = {}

    def teardown(self) -> None:
        for episode_id in self.ids:
            self.runner.run(self.episodes.delete(EpisodeName("team", episode_id)))
        self.runner.run(self.opened.__aexit__(None, None, None))
        self.runner.close()

    @initialize()
    def one_lives(self) -> None:
        self.start(0, 0)

    @rule(which=st.integers(0, 1), content=st.integers(0, 1))
    def start(self, which: int, content: int) -> None:
        meta = meta_of(self.ids[which])
        outcome = self.runner.run(self.episodes.start(meta, bytes([content])))
        model = self.models.get(meta.episode_id)
        if model is None:
            assert outcome is StartOutcome.STARTED
            self.models[meta.episode_id] = Model(meta, content)
        else:
            assert outcome is (StartOutcome.SAME if content == model.start else StartOutcome.EXISTS)

    @rule(
        which=st.integers(0, 1),
        offset=st.integers(-5, 2),
        contents=st.lists(st.integers(0, 1), min_size=1, max_size=4),
    )
    def commit(self, which: int, offset: int, contents: list[int]) -> None:
        model = self.models.get(self.ids[which])
        if model is None:
            decision = self.decide(commit_of(meta_of(self.ids[which]), 0, contents))
            assert decision.verdict is Verdict.MISSING
            return
        first = max(0, model.committed + offset)
        decision = self.decide(commit_of(model.meta, first, contents))
        assert (decision.verdict, decision.committed_step) == model.commit(first, contents)
        if decision.verdict is Verdict.REPLAY:
            last = first + len(contents) - 1
            assert decision.stored == record_of(last, model.contents[last])

    @rule(which=st.integers(0, 1))
    def commit_under_an_earlier_epoch(self, which: int) -> None:
        old = self.old_metas.get(self.ids[which])
        if old is not None and self.ids[which] in self.models:
            assert self.decide(commit_of(old, 0, [0])).verdict is Verdict.OTHER_EPOCH

    @rule(which=st.integers(0, 1), offset=st.integers(0, 2), content=st.integers(0, 1))
    def end(self, which: int, offset: int, content: int) -> None:
        model = self.models.get(self.ids[which])
        meta = meta_of(self.ids[which]) if model is None else model.meta
        step = offset if model is None else max(0, model.committed + offset)
        ending = Ending(meta.name, meta.epoch, step, bytes([step, content]), K, 2.5, -1.5, f"summary {content}")
        decision = self.runner.run(self.episodes.end(ending))
        if model is None:
            assert decision.verdict is Verdict.MISSING
            return
        assert decision.verdict is model.end(step, content)
        if decision.verdict in (Verdict.COMMITTED, Verdict.REPLAY):
            assert decision.stored == f"summary {content}".encode()

    @rule(which=st.integers(0, 1))
    def delete(self, which: int) -> None:
        self.runner.run(self.episodes.delete(EpisodeName("team", self.ids[which])))
        model = self.models.pop(self.ids[which], None)
        if model is not None:
            self.old_metas[self.ids[which]] = model.meta

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        names = [EpisodeName("team", episode_id) for episode_id in self.ids]
        for episode_id, stored in zip(self.ids, self.runner.run(self.episodes.read(names)), strict=True):
            model = self.models.get(episode_id)
            if model is None:
                assert stored is None
                continue
            assert stored.meta.epoch == model.meta.epoch
            assert stored.meta.committed_step == model.committed
            assert stored.meta.ended == (model.ending is not None)
            assert stored.meta.labels == model.meta.labels
            assert stored.meta.target_return == model.meta.target_return
            for step in range(max(0, model.committed - K + 1), model.committed + 1):
                at = (step % K) * RECORD_BYTES
                assert stored.ring[at : at + RECORD_BYTES] == record_of(step, model.contents[step])

    def decide(self, commit: Commit):
        [decision] = self.runner.run(self.episodes.commit([commit]))
        return decision


def test_the_store_does_what_a_dictionary_would(any_redis_url):
    machine = type("Machine", (StoreMachine,), {"url": any_redis_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
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
async def test_what_is_no_redis_url_is_refused_without_its_password():
    with pytest.raises(ConfigError, match="redis_url cannot be used") as refused:
        async with open_store("ftp://robot:secret@host"):
            pass
    assert "secret" not in str(refused.value)
