"""The store as a state machine: whatever is asked of it in whatever order, it does what a dictionary would.

On Redis 6.2, on 7, and on a cluster of three nodes, by two replicas of the service.
`make store-machine` looks longer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from service.store.episodes import (
    Commit,
    Ending,
    EpisodeMeta,
    Episodes,
    Restoration,
    StartOutcome,
    StoredEpisode,
    Verdict,
)
from service.store.episodes import keys as keys_of
from service.store.store import Store
from tests.service.conftest import open_store
from tests.service.stored import RECORD_BYTES, K, commit_of, meta_of, record_of, records_of

EPISODES, REPLICAS = 3, 2

which = st.integers(0, EPISODES - 1)
replica = st.integers(0, REPLICAS - 1)
contents = st.lists(st.integers(0, 1), min_size=1, max_size=5)


@dataclass
class Model:
    """One episode as a dictionary keeps it.

    Attributes:
        start: the digest of the fields that started it.
        first: the first step that is kept.
        records: the content of each step from `first` on, those too old among them.
        ending: the step and content of the request that ended it.
    """

    meta: EpisodeMeta
    start: bytes
    first: int = 0
    records: dict[int, int] = field(default_factory=dict)
    ending: tuple[int, int] | None = None

    @property
    def committed(self) -> int:
        return max(self.records, default=-1)

    @property
    def kept(self) -> range:
        return range(max(self.first, self.committed - K + 1), self.committed + 1)

    def commit(self, first: int, contents: list[int]) -> Verdict:
        sent = dict(enumerate(contents, first))
        if first > self.committed + 1:
            return Verdict.GAP
        if max(sent) <= self.committed and max(sent) not in self.kept:
            return Verdict.TOO_OLD
        if self.differs(sent):
            return Verdict.CHANGED
        if max(sent) <= self.committed:
            return Verdict.REPLAY
        if self.ending is not None:
            return Verdict.ENDED
        self.append(sent)
        return Verdict.COMMITTED

    def end(self, step: int, content: int, missed: list[int]) -> Verdict:
        sent = dict(enumerate(missed, step - len(missed)))
        if self.ending is not None:
            return Verdict.REPLAY if self.ending == (step, content) else Verdict.CHANGED
        if step - len(missed) > self.committed + 1:
            return Verdict.GAP
        if step <= self.committed:
            return Verdict.TOO_OLD
        if self.differs(sent):
            return Verdict.CHANGED
        self.append(sent)
        self.ending = (step, content)
        return Verdict.COMMITTED

    def differs(self, sent: dict[int, int]) -> bool:
        return any(self.records[step] != content for step, content in sent.items() if step in self.kept)

    def append(self, sent: dict[int, int]) -> None:
        self.records |= {step: content for step, content in sent.items() if step > self.committed}


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of requests leaves Redis where it leaves a dictionary."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opened = AsyncExitStack()
        self.stores: list[Store] = [
            self.run(self.opened.enter_async_context(open_store(self.url))) for _ in range(REPLICAS)
        ]
        self.replicas = [Episodes(store) for store in self.stores]
        self.fresh = [meta_of(f"machine-{secrets.token_hex(6)}") for _ in range(EPISODES)]
        self.models: dict[int, Model] = {}
        self.old: list[EpisodeMeta] = []

    def run(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def teardown(self) -> None:
        for meta in self.fresh:
            self.run(self.replicas[0].delete(meta.name))
        self.run(self.opened.aclose())
        self.runner.close()

    def meta(self, which: int) -> EpisodeMeta:
        """As of the living epoch, or of one that never began."""
        return self.models[which].meta if which in self.models else self.fresh[which]

    def anew(self, which: int, **changes: Any) -> EpisodeMeta:
        """The same episode in another epoch."""
        return dataclasses.replace(self.fresh[which], epoch=secrets.token_hex(8), **changes)

    def step_at(self, which: int, offset: int) -> int:
        model = self.models.get(which)
        return max(0, (-1 if model is None else model.committed) + offset)

    def decided(self, replica: int, commits: list[Commit]) -> list[tuple[Verdict, int]]:
        decisions = self.run(self.replicas[replica].commit(commits))
        for commit, decision in zip(commits, decisions, strict=True):
            if decision.verdict is Verdict.REPLAY:
                assert decision.stored == commit.records[-1]
        return [(decision.verdict, decision.committed_step) for decision in decisions]

    @initialize()
    def all_live(self) -> None:
        for which in range(EPISODES):
            self.start(which, 0, b"\0")

    @rule(which=which, replica=replica, digest=st.binary(min_size=1, max_size=1))
    def start(self, which: int, replica: int, digest: bytes) -> None:
        meta = self.anew(which)
        outcome = self.run(self.replicas[replica].start(meta, digest))
        model = self.models.get(which)
        if model is None:
            assert outcome is StartOutcome.STARTED
            self.models[which] = Model(meta, digest)
        else:
            assert outcome is (StartOutcome.SAME if digest == model.start else StartOutcome.EXISTS)

    @rule(which=which, replica=replica)
    def start_again(self, which: int, replica: int) -> None:
        if which in self.models:
            self.start(which, replica, self.models[which].start)

    @rule(which=which, replica=replica, offset=st.integers(-5, 2), contents=contents)
    def commit(self, which: int, replica: int, offset: int, contents: list[int]) -> None:
        first = self.step_at(which, offset)
        decided = self.decided(replica, [commit_of(self.meta(which), first, contents)])
        assert decided == [self.expected(which, first, contents)]

    @rule(replica=replica, contents=contents)
    def commit_to_all(self, replica: int, contents: list[int]) -> None:
        steps = [self.step_at(which, 1) for which in range(EPISODES)]
        decided = self.decided(
            replica, [commit_of(self.meta(which), step, contents) for which, step in enumerate(steps)]
        )
        assert decided == [self.expected(which, step, contents) for which, step in enumerate(steps)]

    @rule(which=which, replica=replica)
    def commit_all_that_may_be_recorded(self, which: int, replica: int) -> None:
        """Every stretch of steps around the oldest one kept, as it was sent and with another last record."""
        model = self.models.get(which)
        if model is None or model.committed < 0:
            return
        oldest = max(0, model.kept[0] - 2)
        sent: list[tuple[int, list[int]]] = []
        for first in range(oldest, model.committed + 1):
            for last in range(first, model.committed + 1):
                same = [model.records.get(step, 0) for step in range(first, last + 1)]
                sent += [(first, same), (first, [*same[:-1], 1 - same[-1]])]
        decided = self.decided(replica, [commit_of(model.meta, first, contents) for first, contents in sent])
        assert decided == [self.expected(which, first, contents) for first, contents in sent]

    @rule(replica=replica, contents=contents)
    def commit_to_an_earlier_epoch(self, replica: int, contents: list[int]) -> None:
        for meta in self.old:
            model = next((model for model in self.models.values() if model.meta.name == meta.name), None)
            expected = (Verdict.MISSING, -1) if model is None else (Verdict.OTHER_EPOCH, model.committed)
            assert self.decided(replica, [commit_of(meta, 0, contents)]) == [expected]

    @rule(
        which=which,
        replica=replica,
        offset=st.integers(0, 2),
        content=st.integers(0, 1),
        missed=st.lists(st.integers(0, 1), max_size=4),
    )
    def end(self, which: int, replica: int, offset: int, content: int, missed: list[int]) -> None:
        meta, step = self.meta(which), self.step_at(which, offset) + len(missed)
        digest, summary = bytes([step, content]), f"summary {content}"
        ending = Ending(
            meta.name, meta.epoch, step, digest, K, 2.5, -1.5, summary, records_of(step - len(missed), missed)
        )
        decision = self.run(self.replicas[replica].end(ending))
        model = self.models.get(which)
        assert decision.verdict is (Verdict.MISSING if model is None else model.end(step, content, missed))
        if decision.verdict in (Verdict.COMMITTED, Verdict.REPLAY):
            assert decision.stored == summary.encode()

    @rule(which=which, replica=replica)
    def end_as_it_ended(self, which: int, replica: int) -> None:
        model = self.models.get(which)
        if model is not None and model.ending is not None:
            step, content = model.ending
            self.end(which, replica, step - model.committed, content, [])

    @rule(
        which=which,
        replica=replica,
        offset=st.integers(-2, 3),
        contents=st.lists(st.integers(0, 1), min_size=1, max_size=K),
        policy=st.sampled_from(["small"] * 4 + ["other"]),
    )
    def restore(self, which: int, replica: int, offset: int, contents: list[int], policy: str) -> None:
        last = max(self.step_at(which, offset), len(contents) - 1)
        first = last - len(contents) + 1
        oldest = first if len(contents) < min(K, last + 1) else 0
        meta = self.anew(which, committed_step=last, first=oldest, policy=policy)
        restoration = Restoration(meta, b"restored", K, records_of(first, contents))
        decision = self.run(self.replicas[replica].restore(restoration))
        model = self.models.get(which)
        if model is not None and model.meta.policy != policy:
            assert decision.verdict is Verdict.EXISTS
        elif model is not None and model.ending is not None:
            assert decision.verdict is Verdict.ENDED
        elif model is not None and model.committed > last:
            assert (decision.verdict, decision.committed_step) == (Verdict.AHEAD, model.committed)
        else:
            assert (decision.verdict, decision.committed_step) == (Verdict.RESTORED, last)
            self.forget(which)
            start = b"restored" if model is None else model.start
            records = dict(enumerate(contents, first))
            if model is not None and model.committed >= first - 1 and model.meta.first < oldest:
                meta, first = dataclasses.replace(meta, first=model.meta.first), model.first
                records = model.records | records
            self.models[which] = Model(meta, start, first, records)

    @rule(which=which, replica=replica)
    def delete(self, which: int, replica: int) -> None:
        self.run(self.replicas[replica].delete(self.fresh[which].name))
        self.forget(which)

    @rule(which=which)
    def expire(self, which: int) -> None:
        keys = keys_of(self.fresh[which].name)
        self.run(self.stores[0].read([("PEXPIRE", key, 1) for key in keys]))
        self.run(asyncio.sleep(0.003))
        self.forget(which)

    @rule()
    def redis_forgets_the_scripts(self) -> None:
        for url in nodes_of(self.url):
            with redis.Redis.from_url(url) as client:
                client.script_flush()

    def forget(self, which: int) -> None:
        model = self.models.pop(which, None)
        if model is not None:
            self.old.append(model.meta)

    def expected(self, which: int, first: int, contents: list[int]) -> tuple[Verdict, int]:
        model = self.models.get(which)
        if model is None:
            return Verdict.MISSING, -1
        return model.commit(first, contents), model.committed

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        found = self.run(self.replicas[0].read([meta.name for meta in self.fresh]))
        for which, stored in enumerate(found):
            if which in self.models:
                self.holds(stored, self.models[which])
            else:
                assert stored is None

    @staticmethod
    def holds(stored: StoredEpisode, model: Model) -> None:
        assert stored.meta.epoch == model.meta.epoch
        assert stored.meta.committed_step == model.committed
        assert stored.meta.first == model.meta.first
        assert stored.meta.ended == (model.ending is not None)
        assert stored.meta.labels == model.meta.labels
        assert stored.meta.target_return == model.meta.target_return
        for step in model.kept:
            at = (step % K) * RECORD_BYTES
            assert stored.ring[at : at + RECORD_BYTES] == record_of(step, model.records[step])


def nodes_of(url: str) -> list[str]:
    scheme, _, hosts = url.partition("+cluster://")
    return [f"{scheme}://{host}" for host in hosts.split(",")] if hosts else [url]


@pytest.mark.parametrize("kind", ["redis_url", "newer_redis_url", "cluster_url"])
def test_the_store_does_what_a_dictionary_would(request: pytest.FixtureRequest, kind):
    machine = type("Machine", (StoreMachine,), {"url": request.getfixturevalue(kind)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=settings.default.max_examples // 3,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
