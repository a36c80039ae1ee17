"""Acting: everything that can be asked of this service, as one async interface."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from itertools import zip_longest

from lamo.errors import EpisodeExists, InvalidRequest, QueueFull, ServiceError, StoreUnavailable
from lamo.wire import (
    ActAnswer,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    PolicyInfo,
    PolicyList,
    StartRequest,
    WindowRequest,
)
from service.callers import Caller, EpisodeName
from service.metrics import Metrics
from service.owners import audit
from service.owners.start_rates import StartRates
from service.policies.engine import Engine
from service.policies.library import Library
from service.policies.revisions import ServedPolicy
from service.serving import AskedStep
from service.steps import answers, rules
from service.steps.cache import WindowCache
from service.steps.contents import EndContent, StepContent
from service.steps.endings import ending_of, summary_of
from service.steps.flight import Act, Wait
from service.steps.numbers import computable
from service.steps.pace import Pace
from service.steps.recall import Recall, unknown_episode
from service.steps.restoring import WindowContent, restoration_of
from service.steps.settling import Settling
from service.steps.stepping import Stepping
from service.steps.waiting import Waiting
from service.store.episodes import EpisodeMeta, Episodes, StartOutcome, Verdict
from service.store.records import content_digest

CLIENT_LEFT = 499
"""What metrics call an act whose client left before its answer; no answer carries it."""


class Acting:
    """Starts, steps, ends and forgets episodes. Every method raises the ServiceError that is its answer."""

    def __init__(
        self,
        engine: Engine,
        episodes: Episodes,
        metrics: Metrics,
        *,
        queue_limit: int,
        queue_seconds: float,
        cached_episodes: int,
        policies_poll_seconds: float,
        revision_idle_seconds: float,
    ) -> None:
        self._engine = engine
        self._episodes = episodes
        self._metrics = metrics
        self._cache = WindowCache(cached_episodes, metrics)
        self._library = Library(
            engine, self._cache, metrics, poll_seconds=policies_poll_seconds, idle_seconds=revision_idle_seconds
        )
        self._recall = Recall(self._library, episodes, self._cache, metrics)
        self._starts = StartRates()
        self._serving: asyncio.Task[None] | None = None
        self._waiting = Waiting(
            self._cache, metrics, Pace(engine.batch_limit), limit=queue_limit, longest_seconds=queue_seconds
        )
        settling = Settling(episodes, self._cache, self._recall, self._waiting, metrics)
        self.stepping = Stepping(engine, self._recall, self._waiting, settling, metrics)

    def open(self) -> None:
        """Begin to serve acts."""
        self._library.open()
        self._serving = asyncio.create_task(self.stepping.run())

    async def close(self) -> None:
        """Finish commits under way; what still waits is refused."""
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.wait([self._serving])
        await self.stepping.close()
        await self._library.close()

    def policies(self, caller: Caller) -> PolicyList:
        """What is served."""
        return answers.policy_list(self._engine.revisions.allowed(caller.limits))

    async def policy(self, caller: Caller, name: str) -> PolicyInfo:
        """One policy, by "name" or "name@revision"."""
        return answers.policy_info(await self._library.describe(name, caller.limits))

    async def start(
        self, caller: Caller, request: StartRequest, episode_id: str | None = None
    ) -> tuple[EpisodeState, bool]:
        """Start an episode, under a fresh id or the client's; the second value is false if it lived already."""
        self._starts.count(caller)  # before a revision is looked for on disk, or loaded
        served = await self._library.find(request.policy, caller.limits, request.ttl_seconds)
        name = caller.episode(secrets.token_urlsafe(24) if episode_id is None else episode_id)
        meta = _new_episode(request, served, name)
        outcome = await self._episodes.start(meta, _start_digest(request))
        if outcome is StartOutcome.EXISTS:
            raise EpisodeExists(
                f"episode {meta.episode_id!r} was started with other fields; delete it to reuse its id"
            )
        if outcome is StartOutcome.SAME:
            return await self.state(caller, meta.episode_id), False
        self._cache.drop(name)
        _audit("episode started", caller, meta)
        return answers.episode_state(meta), True

    async def restore(self, caller: Caller, episode_id: str, request: WindowRequest) -> EpisodeState:
        """Give an episode that is lost, or behind what its client saw answered, its last timesteps back."""
        self._starts.count(caller)
        policy = request.policy if request.revision is None else f"{request.policy}@{request.revision}"
        served = await self._library.find(policy, caller.limits, request.ttl_seconds)
        name, content = caller.episode(episode_id), WindowContent.of(request)
        content.check(served)
        restoration = restoration_of(name, request, content, served, self._recall.layout(served))
        decision = await self._episodes.restore(restoration)
        self._cache.drop(name)
        rules.refuse_other_than_restored(episode_id, content.last, decision)
        _audit("episode restored", caller, restoration.meta)
        return answers.episode_state(restoration.meta)

    async def act(self, asked: AskedStep) -> ActAnswer:
        """Answer one step; cancelled, it is given up unless somebody else waits for it."""
        [outcome] = await self.act_together([asked])
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    async def act_together(self, asked: Sequence[AskedStep]) -> list[ActAnswer | ServiceError]:
        """Answer one step of each of several episodes; each stands alone."""
        crowded = self._waiting.crowded(asked[0].caller.owner) if asked else None
        waits = [self._submit(step, crowded) for step in asked]
        outcomes: list[ActAnswer | ServiceError] = []
        try:
            for wait in waits:
                outcomes.append(await _outcome(wait))  # noqa: PERF401 - those before a cancellation are counted
        finally:
            for step, wait, outcome in zip_longest(asked, waits, outcomes):
                self._leave(wait)
                self._count(step, outcome)
        return outcomes

    async def end(self, caller: Caller, episode_id: str, request: EndRequest) -> EpisodeSummary:
        """End an episode."""
        name, content = caller.episode(episode_id), EndContent.of(request)
        [recalled] = await self._recall.read([name])
        if isinstance(recalled, ServiceError):
            raise recalled
        meta, served = recalled.live.meta, recalled.live.served
        step = meta.committed_step + 1 if content.step is None else content.step
        content.check(served.policy.config, served.name, step)
        if self._waiting.flight.touches(name):
            raise rules.step_in_flight(episode_id, None)
        rules.refuse_other_past(content.missed, recalled)
        self._cache.drop(name)
        ending = ending_of(recalled, content, step, self._recall.layout(served))
        decision = await self._episodes.end(ending)
        if decision.verdict is Verdict.COMMITTED:
            self._metrics.missed.inc(max(0, step - 1 - meta.committed_step))
            _audit("episode ended", caller, meta)
        return summary_of(episode_id, step, decision)

    async def state(self, caller: Caller, episode_id: str) -> EpisodeState:
        """Where an episode stands."""
        [stored] = await self._episodes.read([caller.episode(episode_id)])
        if stored is None:
            raise unknown_episode(episode_id)
        if isinstance(stored, StoreUnavailable):
            raise stored
        return answers.episode_state(stored.meta)

    async def delete(self, caller: Caller, episode_id: str) -> None:
        """Forget an episode; forgetting it again is harmless."""
        self._cache.drop(caller.episode(episode_id))
        if await self._episodes.delete(caller.episode(episode_id)):
            audit.tell("episode deleted", caller, episode_id=episode_id)

    def _submit(self, asked: AskedStep, crowded: QueueFull | None) -> Wait | ServiceError:
        """A wait for the answer, or why there will be none."""
        name, content = asked.episode, asked.content
        self._distrust(name, content)
        try:
            act = self._waiting.flight.find(name, content, asked.deadline)
            if act is None:
                if crowded is not None:
                    return crowded
                act = Act(name, asked.caller, content, asked.received_at, asked.deadline)
                self._waiting.submit(act)
        except ServiceError as error:
            return error
        return act.join()

    def _leave(self, wait: Wait | ServiceError) -> None:
        if isinstance(wait, Wait):
            wait.act.leave(wait)
            if wait.act.abandoned and not wait.act.resolved:
                self._waiting.withdraw(wait.act)

    def _count(self, asked: AskedStep, outcome: ActAnswer | ServiceError | None) -> None:
        policy = outcome.policy if isinstance(outcome, ActAnswer) else "unknown"
        status = outcome.status if isinstance(outcome, ServiceError) else CLIENT_LEFT if outcome is None else 200
        self._metrics.act_seconds_of(policy, asked.caller.owner, status).observe(
            time.monotonic() - asked.received_at
        )

    def _distrust(self, name: EpisodeName, content: StepContent) -> None:
        """Let the record decide where the shapes are not those of the policy this engine knows the episode by.

        The id may have been used again elsewhere, for another policy; what does not fit that one either is refused
        before it joins a batch.
        """
        cached = self._cache.get(name)
        if cached is None:
            return
        try:
            content.check_shapes(cached.served.policy.config, cached.served.name)
        except InvalidRequest:
            self._cache.drop(name)


def _audit(event: str, caller: Caller, meta: EpisodeMeta) -> None:
    audit.tell(event, caller, episode_id=meta.episode_id, policy=meta.policy, revision=meta.revision)


async def _outcome(wait: Wait | ServiceError) -> ActAnswer | ServiceError:
    if isinstance(wait, ServiceError):
        return wait
    try:
        return await wait.answer
    except ServiceError as error:
        return error


def _new_episode(request: StartRequest, served: ServedPolicy, name: EpisodeName) -> EpisodeMeta:
    target_return = request.target_return
    if target_return is None:
        target_return = served.policy.config.target_returns[0]
    if not computable(target_return, served.policy.config.return_scale):
        raise InvalidRequest(f"target_return is {target_return}, not a finite number in float32")
    return EpisodeMeta(
        name=name,
        policy=served.name,
        revision=served.revision,
        hop=served.policy.config.hop,
        dtype=served.policy.dtype,
        target_return=target_return,
        return_to_go=target_return,
        ttl_seconds=request.ttl_seconds,
        labels=request.labels,
        expires_at=time.time() + request.ttl_seconds,
    )


def _start_digest(request: StartRequest) -> bytes:
    """Of the fields as sent: a policy's new revision or first target makes a repeated start no other one."""
    policy = None if request.policy is None else request.policy.encode()
    labels = [part.encode() for label in sorted(request.labels.items()) for part in label]
    return content_digest(b"start", policy, request.target_return, request.ttl_seconds, *labels)
