"""Stepping: the loop that answers acts: take what waits, recall windows, infer, commit, answer.

While one batch infers, the next is prepared and the one before commits. Their episodes are disjoint, because an
episode is busy from the moment one of its acts is taken until the store has decided on it. The device takes
everything prepared the moment it is free; nothing waits for a timer, nor for another episode's read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from lamo.errors import Draining, ServiceError
from service.metrics import Metrics
from service.policies.engine import Engine
from service.steps import rules
from service.steps.batching import group
from service.steps.flight import Act
from service.steps.proposals import Turn, proposal_of, turn_of
from service.steps.recall import Recall, Recalled, Wanted
from service.steps.settling import Settling
from service.steps.waiting import Waiting


class Stepping:
    """Serves the acts that wait.

    Attributes:
        progress_at: when the device last finished a batch, or an idle one was given something to come, on the
            monotonic clock.
    """

    def __init__(
        self, engine: Engine, recall: Recall, waiting: Waiting, settling: Settling, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._recall = recall
        self._waiting = waiting
        self._settling = settling
        self._metrics = metrics
        self.progress_at = time.monotonic()
        self._recalling = 0
        self._ready: list[Turn] = []
        self._inferring: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def stalled(self, seconds: float) -> bool:
        """Whether work waits and no batch was finished for this long."""
        if self._waiting.idle:
            return False
        return time.monotonic() - max(self.progress_at, self._waiting.oldest) > seconds

    async def run(self) -> None:
        """Serve until cancelled; whatever goes wrong with a batch is the answer of that batch."""
        while True:
            self._waiting.changed.clear()
            self._prepare()
            self._launch()
            await self._waiting.changed.wait()

    async def close(self) -> None:
        """Wait for commits under way and refuse what was not inferred, once `run` is over."""
        if self._inferring is not None:
            self._inferring.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        for act in self._waiting.flight.acts():
            shut_down = Draining("the service shut down before it came to this step; nothing was committed")
            self._waiting.refuse(act, shut_down)

    def _prepare(self) -> None:
        """Take what waits, at most a batch ahead of the device; what has to be read from Redis comes later."""
        batch = self._waiting.take(self._engine.batch_limit - len(self._ready) - self._recalling)
        if not batch:
            return
        if self._inferring is None:  # what is prepared for a device that hangs is no progress
            self.progress_at = time.monotonic()
        missing = []
        for act in batch:
            recalled = self._recall.held(Wanted(act.name, act.content.first))
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
            with self._waiting.refusing(acts):
                recalled = await self._recall.read([act.name for act in acts])
                for act, episode in zip(acts, recalled, strict=True):
                    act.recall_ms = _milliseconds(began)
                    self._decide(act, episode)
        finally:
            self._recalling -= len(acts)
            self._waiting.changed.set()

    def _decide(self, act: Act, episode: Recalled | ServiceError) -> None:
        """Make an act that has to be inferred ready; answer one that is recorded, or why there is no answer."""
        if act.resolved:  # its client left while its episode was read
            return
        with self._waiting.refusing([act]):
            if isinstance(episode, ServiceError):
                raise episode
            record = rules.recorded_or_next(act.content, episode)
            if record is None:
                self._ready.append(turn_of(act, episode.live))
            else:
                self._settling.replay(act, episode.live, record, episode.live.meta.committed_step)

    def _launch(self) -> None:
        """Give a free device what is ready for one policy."""
        if self._inferring is not None:
            return
        wanted = [turn for turn in self._ready if self._waiting.still_wanted(turn.act)]
        companies = group(wanted, lambda turn: turn.live.served.revision)
        self._ready = [turn for company in companies[1:] for turn in company]
        if companies:
            self._waiting.begin([turn.act for turn in companies[0]])
            self._inferring = self._begin(self._infer(companies[0]))

    async def _infer(self, company: Sequence[Turn]) -> None:
        """One forward pass; the device gets the next one before the answers of this one are made."""
        with self._waiting.refusing([turn.act for turn in company]):
            served, began = company[0].live.served, time.monotonic()
            windows = [turn.window for turn in company]
            try:
                actions = await self._engine.infer(served, windows, [turn.act.name for turn in company])
            finally:
                self.progress_at = time.monotonic()
                self._inferring = None
                self._waiting.changed.set()
            infer_ms = _milliseconds(began)
            self._waiting.pace.took(len(company), infer_ms / 1000)
            self._prepare()
            self._launch()
            await asyncio.sleep(0)  # the launched pass reaches its thread
            self._metrics.infer_seconds.observe(infer_ms / 1000)
            self._metrics.batch_size.observe(len(company))
            proposals = []
            for turn, action in zip(company, actions, strict=True):
                turn.act.infer_ms, turn.act.batch_size = infer_ms, len(company)
                with self._waiting.refusing([turn.act]):
                    proposals.append(proposal_of(turn, action, self._recall.layout(served)))
            await self._settling.settle(proposals)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task


def _milliseconds(since: float) -> float:
    return 1000 * (time.monotonic() - since)
