"""Waiting: the acts under way, from their receipt until they are answered or refused, and the busy episodes."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lamo.errors import DeadlineExceeded, InternalError, OwnerLimit, QueueFull, ServiceError
from lamo.wire import ActAnswer
from service.callers import Caller, EpisodeName
from service.metrics import Metrics
from service.steps.cache import WindowCache
from service.steps.flight import Act, Flight
from service.steps.owner_queues import OwnerQueues
from service.steps.pace import Pace

logger = logging.getLogger(__name__)


class Waiting:
    """The queue, and what becomes of those who leave it.

    An act waits until inference begins for it; its episode is busy from when the act is taken until it is resolved.

    Attributes:
        limit: acts that may wait; more are refused.
        longest_seconds: requests are refused while those who wait will wait longer, as far as the last passes tell.
        pace: what they tell.
        flight: the acts under way, waiting ones included.
        changed: set whenever there may be something to take.
    """

    def __init__(
        self, cache: WindowCache, metrics: Metrics, pace: Pace, *, limit: int, longest_seconds: float
    ) -> None:
        self.limit = limit
        self.longest_seconds = longest_seconds
        self.pace = pace
        self.flight = Flight()
        self.changed = asyncio.Event()
        self._cache = cache
        self._metrics = metrics
        self._queues = OwnerQueues()
        self._under_way: Counter[str] = Counter()
        self._busy: dict[EpisodeName, Act] = {}
        self._count = 0

    @property
    def idle(self) -> bool:
        """Whether no act is under way."""
        return not self._queues and not self._busy

    @property
    def oldest(self) -> float:
        """When the oldest act not yet taken was received, on the monotonic clock; -infinity if there is none."""
        return self._queues.oldest

    def crowded(self, owner: str) -> QueueFull | None:
        """Why a request of an owner has to be refused now: it would wait too long. None where it has not.

        Owners take turns, so what others have waiting counts as far as it goes first. Whoever fits into the next
        pass comes in, however long passes take: refusing it would make that one smaller and nothing faster. A
        request of many steps is judged by those before it alone.
        """
        before = self._count - len(self._queues) + self._queues.before(owner)
        if self.pace.fits_one_pass(before + 1):
            return None
        seconds = self.pace.seconds_for(before)
        if seconds <= self.longest_seconds:
            return None
        return QueueFull(
            f"{before} requests wait already, for about {1000 * seconds:.0f} ms; send this again",
            retry_after_ms=round(1000 * seconds / 2),
        )

    def submit(self, act: Act) -> None:
        """Let an act wait.

        Raises:
            OwnerLimit: its owner has as many under way as it may.
            QueueFull: too many wait already, and no owner has more of them than this one.
        """
        self._check_limit(act.caller)
        if self._count >= self.limit:
            self._make_room(act)
        self.flight.add(act)
        self._under_way[act.name.owner] += 1
        self._queues.add(act)
        self._counted(1)
        self._watch(act)
        self.changed.set()

    def withdraw(self, act: Act) -> None:
        """Forget an act that everyone has left, unless inference has begun for it."""
        if not act.begun:
            self.refuse(act, DeadlineExceeded("nobody waited for this step any more"))

    def take(self, limit: int) -> list[Act]:
        """Acts of as many episodes that are not busy, at most `limit`, owners in turn; now theirs are."""
        batch = self._queues.take(self._busy, limit)
        now = time.monotonic()
        for act in batch:
            self._busy[act.name] = act
            act.taken_at = now
        return batch

    def begin(self, acts: Sequence[Act]) -> None:
        """Inference begins: they waited until now, less the time in which their episode was read."""
        now = time.monotonic()
        for act in acts:
            act.begun = True
            act.taken_at = now - act.recall_ms / 1000
            self._metrics.queue_seconds.observe(act.taken_at - act.received_at)
        self._counted(-len(acts))

    def put_back(self, act: Act) -> None:
        """Let an act that was begun be taken once more, before all others of its owner."""
        self._free(act)
        self._queues.add_first(act)
        if act.begun:
            act.begun = False
            self._counted(1)
        self.changed.set()

    def still_wanted(self, act: Act) -> bool:
        """Whether it is still to be answered; one whose deadline has passed is refused here."""
        if act.expired:
            waited = 1000 * (time.monotonic() - act.received_at)
            self.refuse(act, DeadlineExceeded(f"the deadline passed before inference, after {waited:.0f} ms"))
        return not act.resolved

    def answer(self, act: Act, answer: ActAnswer) -> None:
        """Resolve an act."""
        self._release(act)
        act.answer(answer)

    def refuse(self, act: Act, error: ServiceError) -> None:
        """Resolve an act that has no answer; what is known of its episode is read anew next time."""
        if not act.resolved:
            self._cache.drop(act.name)
            self._release(act)
            act.refuse(error)

    @contextmanager
    def refusing(self, acts: Sequence[Act]) -> Iterator[None]:
        """Whatever goes wrong inside is the answer of those acts that have none yet."""
        try:
            yield
        except ServiceError as error:
            for act in acts:
                self.refuse(act, error)
        except Exception:
            logger.exception("a batch failed", extra={"requests": [_told(act) for act in acts]})
            for act in acts:
                self.refuse(act, InternalError("the service failed on this step"))

    def _watch(self, act: Act) -> None:
        """Refuse it when its deadline passes, not when the device is free again."""
        if act.deadline < math.inf:
            seconds = max(0.0, act.deadline - time.monotonic())
            act.alarm = asyncio.get_running_loop().call_later(seconds, self._look, act)

    def _look(self, act: Act) -> None:
        if not act.begun and self.still_wanted(act):
            self._watch(act)  # somebody with more time has joined it

    def _check_limit(self, caller: Caller) -> None:
        under_way, most = self._under_way[caller.owner], caller.limits.in_flight
        if most is not None and under_way >= most:
            raise OwnerLimit(
                f"owner {caller.owner!r} has {under_way} acts under way, and may have {most}", retry_after_ms=50
            )

    def _make_room(self, act: Act) -> None:
        """Refuse the newest act of whoever has most waiting: a flood pushes out itself, not its neighbours."""
        full = f"{self._count} requests wait already; send this again"
        given_way = self._queues.newest_of_longest(act.name.owner)
        if given_way is None:
            raise QueueFull(full, retry_after_ms=50)
        self.refuse(given_way, QueueFull(full, retry_after_ms=50))

    def _release(self, act: Act) -> None:
        if act.alarm is not None:
            act.alarm.cancel()
        self.flight.remove(act)
        self._leave_owner(act.name.owner)
        self._free(act)
        if not act.begun:
            self._queues.discard(act)
            self._counted(-1)
        self.changed.set()

    def _leave_owner(self, owner: str) -> None:
        self._under_way[owner] -= 1
        if not self._under_way[owner]:
            del self._under_way[owner]

    def _free(self, act: Act) -> None:
        """Its episode is busy no longer, unless with another act: one that still waits does not make it so."""
        if self._busy.get(act.name) is act:
            del self._busy[act.name]

    def _counted(self, change: int) -> None:
        self._count += change
        self._metrics.queue_depth.set(self._count)


def _told(act: Act) -> dict[str, str | int | None]:
    """Which act it was, for the log; not what it said."""
    caller = act.caller
    told = {"owner": caller.owner, "episode_id": act.name.id, "step": act.content.step}
    return {**told, "request_id": caller.request_id, "trace_id": caller.trace_id}
