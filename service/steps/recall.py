"""Recall: where the episodes of a batch stand, from this engine's windows or, all misses at once, from Redis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamo.errors import RevisionNotLoaded, ServiceError, StoreUnavailable, UnknownEpisode
from lamo.window import EpisodeWindow
from service.callers import EpisodeName
from service.metrics import Metrics
from service.policies.library import Library
from service.policies.revisions import ServedPolicy
from service.steps.cache import LiveEpisode, WindowCache
from service.store.episodes import EpisodeMeta, Episodes, StoredEpisode
from service.store.records import Record, RecordLayout

TORN_READS = 5
"""Each is caused by a commit of another replica between two commands of one pipeline: rare twice in a row."""


@dataclass(frozen=True)
class Recalled:
    """An episode ready to be decided on.

    Attributes:
        live: where it stands and what its policy sees.
        records: the last K records; None if the window came from the cache, which serves the next step alone.
    """

    live: LiveEpisode
    records: Sequence[Record] | None


@dataclass(frozen=True)
class Wanted:
    """An episode and the first step that is told of, None for the next."""

    name: EpisodeName
    first: int | None


class Recall:
    """Finds episodes for the acting engine."""

    def __init__(self, library: Library, episodes: Episodes, cache: WindowCache, metrics: Metrics) -> None:
        self._library = library
        self._episodes = episodes
        self._cache = cache
        self._metrics = metrics
        self._layouts: dict[str, RecordLayout] = {}

    def layout(self, served: ServedPolicy) -> RecordLayout:
        """The record layout of a policy."""
        layout = self._layouts.get(served.revision)
        if layout is None:
            layout = self._layouts[served.revision] = RecordLayout(served.policy.config)
        return layout

    def policy_of(self, meta: EpisodeMeta) -> ServedPolicy:
        """The revision the episode was started with, for it stays with it.

        Raises:
            RevisionNotLoaded: this engine does not hold it, and loads it now if it is on disk.
        """
        return self._library.of_episode((meta.policy, meta.revision), meta.ttl_seconds)

    def held(self, wanted: Wanted) -> Recalled | None:
        """Where the episode stands as this engine knows it; None if that has to be read."""
        live = self._cache.get(wanted.name)
        if live is None or wanted.first not in (None, live.meta.committed_step + 1):
            self._metrics.cache_misses.inc()
            return None
        self._metrics.cache_hits.inc()
        return Recalled(live, None)

    async def read(self, names: Sequence[EpisodeName]) -> list[Recalled | ServiceError]:
        """Where each episode stands, all read at once, or why that cannot be told."""
        with self._metrics.recall_seconds.time():
            found = await self._read(names)
        return [found[name] for name in names]

    async def _read(self, names: Sequence[EpisodeName]) -> dict[EpisodeName, Recalled | ServiceError]:
        found: dict[EpisodeName, Recalled | ServiceError] = {}
        torn = list(names)
        for _ in range(TORN_READS):
            try:
                stored = await self._episodes.read(torn)
            except StoreUnavailable as error:
                return found | dict.fromkeys(torn, error)
            for name, episode in zip(torn, stored, strict=True):
                recalled = self._recalled(name, episode)
                if recalled is not None:
                    found[name] = recalled
            torn = [name for name in torn if name not in found]
            if not torn:
                return found
        busy = StoreUnavailable("the episode's record changed at every read; send the same request again")
        return found | dict.fromkeys(torn, busy)

    def _recalled(
        self, name: EpisodeName, stored: StoredEpisode | StoreUnavailable | None
    ) -> Recalled | ServiceError | None:
        """The episode from its record; None if the read was torn."""
        if stored is None:
            return unknown_episode(name.id)
        if isinstance(stored, StoreUnavailable):
            return stored
        try:
            served = self.policy_of(stored.meta)
        except RevisionNotLoaded as error:
            return error
        records = self.layout(served).recent(stored.ring, stored.meta.committed_step, stored.meta.first)
        if records is None:
            return None
        return Recalled(LiveEpisode(stored.meta, _window(served, stored.meta, records), served), records)


def unknown_episode(episode_id: str) -> UnknownEpisode:
    """The answer for an id under which nothing lives."""
    return UnknownEpisode(f"episode {episode_id!r} was never started here, has expired, or was deleted")


def _window(served: ServedPolicy, meta: EpisodeMeta, records: Sequence[Record]) -> EpisodeWindow:
    policy = served.policy
    empty = policy.begin(meta.target_return, meta.hop)
    if not records:
        return empty
    return empty.resume([record.timestep for record in records], policy.low, policy.high)
