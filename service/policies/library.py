"""Library: the revisions that episodes need, loaded when on disk or asked for, and unloaded when unused."""

from __future__ import annotations

import asyncio
import logging
import time

from lamo import checkpoint
from lamo.errors import CheckpointError, RevisionNotLoaded, UnknownPolicy
from service.callers import Limits
from service.metrics import Metrics
from service.policies.engine import Engine
from service.policies.policy_folder import OnDisk
from service.policies.revisions import Key, PolicyDescription, ServedPolicy
from service.steps.cache import WindowCache

logger = logging.getLogger(__name__)

LOADING_RETRY_MS = 250
"""A small network is there by then; whoever asks earlier costs a read of the episode each time."""

REFUSED_SECONDS = 30.0
"""For this long nobody looks again for a revision that was not there or could not be loaded."""

Outcome = ServedPolicy | CheckpointError | None
"""Of fetching a revision: the policy, why it cannot be loaded, or that it is not on disk."""


class Library:
    """Follows the policies folder and loads on demand, for one engine.

    Args:
        poll_seconds: between two looks at the folder. What two looks in a row find is complete, and acted upon.
        idle_seconds: what is not current and was not used for so long is unloaded. A revision that is gone from
            disk cannot come back, and stays until the last of its episodes has expired.
    """

    def __init__(
        self, engine: Engine, cache: WindowCache, metrics: Metrics, *, poll_seconds: float, idle_seconds: float
    ) -> None:
        self._engine = engine
        self._cache = cache
        self._metrics = metrics
        self._poll_seconds = poll_seconds
        self._idle_seconds = idle_seconds
        self._before: dict[str, OnDisk | str] = {}
        self._complaints: dict[str, str] = {}
        self._fetching: dict[Key, asyncio.Task[Outcome]] = {}
        self._refused: dict[Key, tuple[float, CheckpointError | None]] = {}
        self._following: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to follow the folder."""
        for served in self._engine.served:
            self._tell(served, current=True)
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Follow it no longer, and wait for nothing that loads."""
        tasks = [task for task in (self._following, *self._fetching.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, policy: str | None, limits: Limits, ttl_seconds: float) -> ServedPolicy:
        """The policy that an episode starts with, asked for by "name", "name@revision" or nothing.

        Raises:
            UnknownPolicy: there is none of that name or revision, or none was named and several are served.
            RevisionNotLoaded: it is on disk and cannot be loaded.
        """
        name, _, revision = (policy or "").partition("@")
        if not revision:
            served = self._engine.find(None if policy is None else name, limits)
        else:
            self._refuse_hidden(name, limits)
            outcome = await self._obtain((name, revision))
            if outcome is None:
                raise self._unknown(name, revision, limits)
            if isinstance(outcome, CheckpointError):
                raise RevisionNotLoaded(str(outcome), retry_after_ms=_milliseconds(REFUSED_SECONDS))
            served = outcome
        self._engine.revisions.use(served, ttl_seconds)
        return served

    async def describe(self, policy: str, limits: Limits) -> PolicyDescription:
        """A policy by "name" or "name@revision"; one that is on disk is not loaded for it.

        Raises:
            UnknownPolicy: there is none of that name or revision.
            RevisionNotLoaded: it is on disk and cannot be read.
        """
        name, _, revision = policy.partition("@")
        self._refuse_hidden(name, limits)
        served = self._engine.revisions.get((name, revision)) if revision else self._engine.find(name, limits)
        if served is not None:
            return served.description
        found = await asyncio.to_thread(self._engine.folder.find, name, revision)
        if found is None:
            raise self._unknown(name, revision, limits)
        try:
            config, normalization = await asyncio.to_thread(checkpoint.read_description, found.directory)
        except CheckpointError as error:
            raise RevisionNotLoaded(str(error)) from error
        return PolicyDescription(name, revision, self._engine.dtype, config, normalization)

    def of_episode(self, key: Key, ttl_seconds: float) -> ServedPolicy:
        """The revision that an episode stays with.

        Raises:
            RevisionNotLoaded: it is being loaded now, or cannot be.
        """
        served = self._engine.revisions.get(key)
        if served is not None:
            self._engine.revisions.use(served, ttl_seconds)
            return served
        name, revision = key
        until, refusal = self._refused.get(key, (0.0, None))
        remaining = until - time.monotonic()
        if remaining <= 0:
            self._fetch(key)
            sentence = f"{name}@{revision} is not loaded here, and is being loaded if it is on disk"
            raise RevisionNotLoaded(f"{sentence}; send the same request again", retry_after_ms=LOADING_RETRY_MS)
        sentence = f"{name}@{revision} is neither loaded here nor on disk" if refusal is None else str(refusal)
        raise RevisionNotLoaded(sentence, retry_after_ms=_milliseconds(remaining))

    def _refuse_hidden(self, name: str, limits: Limits) -> None:
        """Of a policy that may not be started, no revision is there either."""
        if not limits.allow(name):
            self._engine.find(name, limits)

    async def _obtain(self, key: Key) -> Outcome:
        served = self._engine.revisions.get(key)
        if served is not None:
            return served
        until, refusal = self._refused.get(key, (0.0, None))
        if time.monotonic() < until:
            return refusal
        return await asyncio.shield(self._fetch(key))  # others may wait for it too

    def _fetch(self, key: Key) -> asyncio.Task[Outcome]:
        """Load a revision from disk, once for all who ask."""
        if key not in self._fetching:
            self._fetching[key] = asyncio.create_task(self._fetched(key))
            self._fetching[key].add_done_callback(lambda _: self._fetching.pop(key))
        return self._fetching[key]

    async def _fetched(self, key: Key) -> Outcome:
        found = await asyncio.to_thread(self._engine.folder.find, *key)
        refusal: CheckpointError | None = None
        if found is not None:
            try:
                return await self._engine.load(found)
            except CheckpointError as error:
                refusal = error
                self._failed(key[0], str(error))
        now = time.monotonic()
        self._refused = {known: refused for known, refused in self._refused.items() if refused[0] > now}
        self._refused[key] = now + REFUSED_SECONDS, refusal
        return refusal

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                await self._look()
                await self._unload_unused()
            except Exception:
                logger.exception("the policies folder could not be followed")

    async def _look(self) -> None:
        """Make current what two looks in a row have found, and withdraw what both have missed."""
        try:
            found = await asyncio.to_thread(self._engine.folder.current)
        except CheckpointError as error:  # a volume that is away for a while takes no policy along
            self._complain("", str(error))
            return
        seen = {name: str(at) if isinstance(at, CheckpointError) else at for name, at in found.items()}
        before, self._before = self._before, seen
        for name, at in seen.items():
            if before.get(name) == at:
                await self._settled(name, at)
        for served in self._engine.served:
            if served.name not in seen and served.name not in before and before:
                self._engine.revisions.withdraw(served.name)
                self._tell(served, current=False)
                logger.info("policy withdrawn", extra={"policy": served.name, "revision": served.revision})

    async def _settled(self, name: str, at: OnDisk | str) -> None:
        if isinstance(at, str):
            self._complain(name, at)
            return
        before = next((served for served in self._engine.served if served.name == name), None)
        if before is not None and before.revision == at.revision:
            self._complaints.pop(name, None)
            return
        key = name, at.revision
        if self._refused.get(key, (0.0, None))[1] is None:
            self._refused.pop(key, None)  # somebody asked for it before it was there
        served = await self._obtain(key)
        if isinstance(served, ServedPolicy):
            self._engine.revisions.make_current(served)
            if before is not None:
                self._tell(before, current=False)
            self._tell(served, current=True)
            self._complaints.pop(name, None)
            logger.info("new episodes get another revision", extra={"policy": name, "revision": served.revision})

    async def _unload_unused(self) -> None:
        revisions = self._engine.revisions
        for key in revisions.unused(self._idle_seconds):
            on_disk = await asyncio.to_thread(self._engine.folder.find, *key)
            if on_disk is None and not revisions.outlived(key):
                continue
            if key in revisions.unused(self._idle_seconds):  # nobody used it in the meantime
                self._cache.drop_all_of(key)
                await self._engine.unload(key)
                logger.info("revision unloaded", extra={"policy": key[0], "revision": key[1]})

    def _unknown(self, name: str, revision: str, limits: Limits) -> UnknownPolicy:
        current = self._engine.find(name, limits).revision
        return UnknownPolicy(
            f"policy {name!r} is served in revision {current}; {revision!r} is neither loaded nor on disk"
        )

    def _failed(self, name: str, sentence: str) -> None:
        self._metrics.policy_load_failures.inc()
        self._complain(name, sentence)

    def _complain(self, name: str, sentence: str) -> None:
        """Once for each thing that is wrong; what is loaded goes on being served."""
        if self._complaints.get(name) != sentence:
            self._complaints[name] = sentence
            logger.error("policy not loaded", extra={"policy": name, "reason": sentence})

    def _tell(self, served: ServedPolicy, *, current: bool) -> None:
        config = served.policy.config
        self._metrics.policy_info.labels(
            policy=served.name,
            revision=served.revision,
            task=config.task,
            device=self._engine.device,
            dtype=served.policy.dtype,
            hop=config.hop,
        ).set(int(current))


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
