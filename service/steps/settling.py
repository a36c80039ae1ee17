"""Settling: what becomes of a forward pass: it is committed, and the store's verdict decides each act's answer."""

from __future__ import annotations

import time
from collections.abc import Sequence

from lamo.errors import ServiceError, StoreUnavailable
from lamo.window import Timestep
from lamo.wire import Timing
from service.metrics import Metrics
from service.steps import answers, rules
from service.steps.cache import LiveEpisode, WindowCache
from service.steps.flight import Act
from service.steps.proposals import Proposal
from service.steps.recall import Recall, unknown_episode
from service.steps.waiting import Waiting
from service.store.episodes import Decision, Episodes, Verdict
from service.store.records import Record

ATTEMPTS = 4
"""How often an act is decided anew when another replica, or another epoch, was there first."""


class Settling:
    """Commits proposals and answers their acts."""

    def __init__(
        self, episodes: Episodes, cache: WindowCache, recall: Recall, waiting: Waiting, metrics: Metrics
    ) -> None:
        self._episodes = episodes
        self._cache = cache
        self._recall = recall
        self._waiting = waiting
        self._metrics = metrics

    async def settle(self, proposals: Sequence[Proposal]) -> None:
        """Commit a forward pass in one round trip; no answer leaves before its commit is known."""
        with self._waiting.refusing([proposal.act for proposal in proposals]):
            began = time.monotonic()
            decisions = await self._episodes.commit([proposal.commit for proposal in proposals])
            commit_ms = 1000 * (time.monotonic() - began)
            self._metrics.commit_seconds.observe(commit_ms / 1000)
            for proposal, decision in zip(proposals, decisions, strict=True):
                proposal.act.commit_ms = commit_ms
                try:
                    self._conclude(proposal, decision)
                except ServiceError as error:
                    self._waiting.refuse(proposal.act, error)

    def replay(self, act: Act, live: LiveEpisode, record: Record, committed_step: int) -> None:
        """Answer an act from its record."""
        self._metrics.replays.inc()
        self._answer(act, live, record.timestep, committed_step=committed_step, replayed=True)

    def _conclude(self, proposal: Proposal, decision: Decision | StoreUnavailable) -> None:
        if isinstance(decision, StoreUnavailable):
            raise decision
        act, live = proposal.act, proposal.live
        match decision.verdict:
            case Verdict.COMMITTED:
                self._committed(proposal)
            case Verdict.REPLAY if _own(proposal, decision):
                self._committed(proposal)
            case Verdict.REPLAY | Verdict.CHANGED if act.content.step is None:
                # It means the next step, whichever that is now: another replica took the one this engine knew of.
                self._decide_again(act, live.meta.committed_step, decision.committed_step)
            case Verdict.REPLAY if decision.stored is not None:
                self._cache.drop(act.name)
                record = self._recall.layout(live.served).decode(decision.stored)
                self.replay(act, live, record, decision.committed_step)
            case Verdict.CHANGED:
                raise rules.content_changed(act.name.id, live.meta.committed_step)
            case Verdict.MISSING:
                raise unknown_episode(act.name.id)
            case Verdict.ENDED:
                raise rules.episode_ended(act.name.id, decision.committed_step)
            case _:
                self._decide_again(act, live.meta.committed_step, decision.committed_step)

    def _committed(self, proposal: Proposal) -> None:
        self._cache.put(proposal.live)
        *missed, record = proposal.records
        self._metrics.steps.inc()
        self._metrics.missed.inc(len(missed))
        step = record.timestep.step
        self._answer(proposal.act, proposal.live, record.timestep, committed_step=step, replayed=False)

    def _answer(
        self, act: Act, live: LiveEpisode, timestep: Timestep, *, committed_step: int, replayed: bool
    ) -> None:
        timing = Timing(
            queue_ms=1000 * (act.taken_at - act.received_at),
            recall_ms=act.recall_ms,
            infer_ms=act.infer_ms,
            commit_ms=act.commit_ms,
            total_ms=1000 * (time.monotonic() - act.received_at),
            batch_size=act.batch_size,
        )
        answer = answers.act_answer(
            live.meta, live.served, timestep, committed_step=committed_step, replayed=replayed, timing=timing
        )
        self._waiting.answer(act, answer)

    def _decide_again(self, act: Act, step: int, committed_step: int) -> None:
        """Back to the head of the queue: what this engine held was behind the record."""
        self._cache.drop(act.name)
        act.attempts += 1
        if act.attempts == ATTEMPTS:
            raise rules.step_conflict(act.name.id, step, committed_step)
        self._waiting.put_back(act)
        if act.abandoned:
            self._waiting.withdraw(act)


def _own(proposal: Proposal, decision: Decision) -> bool:
    """Whether the record found is the one just written: a connection died and the script ran twice."""
    step = proposal.records[-1].timestep.step
    return decision.committed_step == step and decision.stored == proposal.commit.records[-1]
