"""Stepping: the loop that answers acts: take what waits, recall windows, infer, commit, answer.

While one batch infers, the next is prepared and the one before commits. Their episodes are disjoint, because an
episode is busy from the moment one of its acts is taken until the store has decided on it. The device takes
everything prepared the moment it is free; nothing waits for a timer, nor for another episode's read.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lamo.errors import DeadlineExceeded, Draining, InternalError, QueueFull, ServiceError, StoreUnavailable
from lamo.window import Timestep
from lamo.wire import Timing
from service import answers, rules
from service.batching import group, take
from service.cache import LiveEpisode, WindowCache
from service.engine import Engine
from service.episodes import Decision, Episodes, Verdict
from service.flight import Act, Flight
from service.metrics import Metrics
from service.proposals import Proposal, Turn, proposal_of, turn_of
from service.recall import Recall, Recalled, Wanted, unknown_episode
from service.records import Record

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""How often an act is decided anew when another replica, or another epoch, was there first."""


class Stepping:
    """The queue of acts and the loop that serves it.

    Attributes:
        queue_limit: acts that may wait; more are refused.
        flight: the acts under way, waiting ones included.
        progress_at: when the loop last took or finished a batch, on the monotonic clock.
    """

    def __init__(
        self,
        engine: Engine,
        episodes: Episodes,
        cache: WindowCache,
        recall: Recall,
        metrics: Metrics,
        *,
        queue_limit: int,
    ) -> None:
        self._engine = engine
        self._episodes = episodes
        self._cache = cache
        self._recall = recall
        self._metrics = metrics
        self.queue_limit = queue_limit
        self.flight = Flight()
        self.progress_at = time.monotonic()
        self._queue: list[Act] = []
        self._busy: set[str] = set()
        self._recalling = 0
        self._ready: list[Turn] = []
        self._inferring: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def _waiting(self) -> int:
        return len(self._queue) + self._recalling + len(self._ready)

    def stalled(self, seconds: float) -> bool:
        """Whether work waits and no batch was finished for this long."""
        if not self._queue and not self._busy:
            return False
        oldest = min((act.received_at for act in self._queue), default=-math.inf)
        return time.monotonic() - max(self.progress_at, oldest) > seconds

    def submit(self, act: Act) -> None:
        """Put an act into the queue.

        Raises:
            QueueFull: too many wait already.
        """
        if self._waiting >= self.queue_limit:
            raise QueueFull(f"{self._waiting} requests wait already; send this again", retry_after_ms=50)
        self.flight.add(act)
        self._enqueue([*self._queue, act])

    def withdraw(self, act: Act) -> None:
        """Forget an act that everyone has left, if no batch has taken it yet; a batch looks for itself."""
        if act in self._queue:
            self._enqueue([waiting for waiting in self._queue if waiting is not act])
            self.flight.remove(act)

    async def run(self) -> None:
        """Serve the queue until cancelled; whatever goes wrong with a batch is the answer of that batch."""
        while True:
            self._wake.clear()
            self._prepare()
            self._launch()
            await self._wake.wait()

    async def close(self) -> None:
        """Wait for commits under way and refuse what was not inferred, once `run` is over."""
        if self._inferring is not None:
            self._inferring.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        for act in self.flight.acts():
            self._refuse(act, Draining("the service shut down before it came to this step; nothing was committed"))

    def _prepare(self) -> None:
        """Take what waits, at most a batch ahead of the device; what has to be read from Redis comes later."""
        ahead = len(self._ready) + self._recalling
        batch = take(self._queue, self._busy, self._engine.batch_limit - ahead)
        if not batch:
            return
        self._claim(batch)
        missing = []
        for act in batch:
            recalled = self._recall.held(Wanted(act.episode_id, act.content.step))
            if recalled is None:
                missing.append(act)
            else:
                self._decide(act, recalled)
        if missing:
            self._recalling += len(missing)
            self._begin(self._read(missing))

    async def _read(self, acts: Sequence[Act]) -> None:
        began = time.monotonic()
        try:
            with self._refusing(acts):
                recalled = await self._recall.read([act.episode_id for act in acts])
                for act, episode in zip(acts, recalled, strict=True):
                    act.recall_ms = _milliseconds(began)
                    self._decide(act, episode)
        finally:
            self._recalling -= len(acts)
            self._wake.set()

    def _decide(self, act: Act, episode: Recalled | ServiceError) -> None:
        """Make an act that has to be inferred ready; answer one that is recorded, or why there is no answer."""
        with self._refusing([act]):
            if isinstance(episode, ServiceError):
                raise episode
            record = rules.recorded_or_next(act.content, episode)
            if record is None:
                self._ready.append(turn_of(act, episode.live))
            else:
                self._replay(act, episode.live, record, episode.live.meta.committed_step)

    def _launch(self) -> None:
        """Give a free device what is ready for one policy."""
        if self._inferring is not None:
            return
        waiting = [turn for turn in self._ready if not self._expired(turn.act)]
        companies = group(waiting, lambda turn: turn.live.served.revision)
        company = companies[0][: self._engine.batch_limit] if companies else ()
        taken = set(map(id, company))
        self._ready = [turn for turn in waiting if id(turn) not in taken]
        if company:
            self._tell_waits([turn.act for turn in company])
            self._inferring = self._begin(self._infer(company))

    async def _infer(self, company: Sequence[Turn]) -> None:
        """One forward pass; the device gets the next one before the answers of this one are made."""
        with self._refusing([turn.act for turn in company]):
            served, began = company[0].live.served, time.monotonic()
            windows = [turn.window for turn in company]
            try:
                actions = await self._engine.infer(served, windows, [turn.act.episode_id for turn in company])
            finally:
                self.progress_at = time.monotonic()
                self._inferring = None
                self._wake.set()
            infer_ms = _milliseconds(began)
            self._prepare()
            self._launch()
            await asyncio.sleep(0)  # the launched pass reaches its thread
            self._metrics.infer_seconds.observe(infer_ms / 1000)
            self._metrics.batch_size.observe(len(company))
            proposals = []
            for turn, action in zip(company, actions, strict=True):
                turn.act.infer_ms, turn.act.batch_size = infer_ms, len(company)
                with self._refusing([turn.act]):
                    proposals.append(proposal_of(turn, action, self._recall.layout(served)))
            await self._commit(proposals)

    async def _commit(self, proposals: Sequence[Proposal]) -> None:
        """Commit a forward pass in one round trip; no answer leaves before its commit is known."""
        with self._refusing([proposal.act for proposal in proposals]):
            began = time.monotonic()
            decisions = await self._episodes.commit([proposal.commit for proposal in proposals])
            commit_ms = _milliseconds(began)
            self._metrics.commit_seconds.observe(commit_ms / 1000)
            for proposal, decision in zip(proposals, decisions, strict=True):
                proposal.act.commit_ms = commit_ms
                with self._refusing([proposal.act]):
                    self._conclude(proposal, decision)

    def _conclude(self, proposal: Proposal, decision: Decision | StoreUnavailable) -> None:
        if isinstance(decision, StoreUnavailable):
            raise decision
        act, live = proposal.act, proposal.live
        match decision.verdict:
            case Verdict.COMMITTED:
                self._committed(proposal)
            case Verdict.REPLAY if self._own(proposal, decision):
                self._committed(proposal)
            case Verdict.REPLAY | Verdict.CHANGED if act.content.step is None:
                # It means the next step, whichever that is now: another replica took the one this engine knew of.
                self._decide_again(act, live.meta.committed_step, decision.committed_step)
            case Verdict.REPLAY if decision.stored is not None:
                self._cache.drop(act.episode_id)
                record = self._recall.layout(live.served).decode(decision.stored)
                self._replay(act, live, record, decision.committed_step)
            case Verdict.CHANGED:
                raise rules.content_changed(act.episode_id, live.meta.committed_step)
            case Verdict.MISSING:
                raise unknown_episode(act.episode_id)
            case Verdict.ENDED:
                raise rules.episode_ended(act.episode_id, decision.committed_step)
            case _:
                self._decide_again(act, live.meta.committed_step, decision.committed_step)

    @staticmethod
    def _own(proposal: Proposal, decision: Decision) -> bool:
        """Whether the record found is the one just written: a connection died and the script ran twice."""
        step = proposal.record.timestep.step
        return decision.committed_step == step and decision.stored == proposal.commit.records[-1]

    def _committed(self, proposal: Proposal) -> None:
        self._cache.put(proposal.live)
        self._metrics.steps.inc()
        step = proposal.record.timestep.step
        self._answer(proposal.act, proposal.live, proposal.record.timestep, committed_step=step, replayed=False)

    def _replay(self, act: Act, live: LiveEpisode, record: Record, committed_step: int) -> None:
        self._metrics.replays.inc()
        self._answer(act, live, record.timestep, committed_step=committed_step, replayed=True)

    def _answer(
        self, act: Act, live: LiveEpisode, timestep: Timestep, *, committed_step: int, replayed: bool
    ) -> None:
        timing = Timing(
            queue_ms=1000 * (act.taken_at - act.received_at),
            recall_ms=act.recall_ms,
            infer_ms=act.infer_ms,
            commit_ms=act.commit_ms,
            total_ms=_milliseconds(act.received_at),
            batch_size=act.batch_size,
        )
        answer = answers.act_answer(
            live.meta, live.served, timestep, committed_step=committed_step, replayed=replayed, timing=timing
        )
        self._release(act)
        act.answer(answer)

    def _decide_again(self, act: Act, step: int, committed_step: int) -> None:
        """Back to the head of the queue: what this engine held was behind the record."""
        self._cache.drop(act.episode_id)
        act.attempts += 1
        if act.attempts == ATTEMPTS:
            raise rules.step_conflict(act.episode_id, step, committed_step)
        self._busy.discard(act.episode_id)
        self._enqueue([act, *self._queue])

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _expired(self, act: Act) -> bool:
        if act.abandoned:
            self._refuse(act, DeadlineExceeded("nobody waited for this step any more"))
            return True
        if not act.expired:
            return False
        waited = _milliseconds(act.received_at)
        self._refuse(act, DeadlineExceeded(f"the deadline passed before inference, after {waited:.0f} ms"))
        return True

    @contextmanager
    def _refusing(self, acts: Sequence[Act]) -> Iterator[None]:
        """Whatever goes wrong inside is the answer of those acts that have none yet."""
        try:
            yield
        except ServiceError as error:
            for act in acts:
                self._refuse(act, error)
        except Exception:
            logger.exception("a batch failed", extra={"episodes": [act.episode_id for act in acts]})
            for act in acts:
                self._refuse(act, InternalError("the service failed on this step"))

    def _refuse(self, act: Act, error: ServiceError) -> None:
        if not act.resolved:
            self._cache.drop(act.episode_id)
            self._release(act)
            act.refuse(error)

    def _release(self, act: Act) -> None:
        self.flight.remove(act)
        self._busy.discard(act.episode_id)
        self._wake.set()

    def _claim(self, batch: Sequence[Act]) -> None:
        taken = set(batch)
        self._enqueue([act for act in self._queue if act not in taken])
        now = self.progress_at = time.monotonic()
        for act in batch:
            self._busy.add(act.episode_id)
            act.taken_at = now

    def _tell_waits(self, acts: Sequence[Act]) -> None:
        """They waited until now, less the time that their episode was read in."""
        now = time.monotonic()
        for act in acts:
            act.taken_at = now - act.recall_ms / 1000
            self._metrics.queue_seconds.observe(act.taken_at - act.received_at)
        self._metrics.queue_depth.set(self._waiting)

    def _enqueue(self, queue: list[Act]) -> None:
        self._queue = queue
        self._metrics.queue_depth.set(self._waiting)
        self._wake.set()


def _milliseconds(since: float) -> float:
    return 1000 * (time.monotonic() - since)
