"""WindowCache: the windows of the episodes this engine acted on last; Redis is the truth, this saves reads."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from lamo.window import EpisodeWindow
from service.callers import EpisodeName
from service.metrics import Metrics
from service.policies.revisions import Key, ServedPolicy
from service.store.episodes import EpisodeMeta


@dataclass(frozen=True)
class LiveEpisode:
    """An episode as of its last committed step: where it stands, what its policy sees, and that policy."""

    meta: EpisodeMeta
    window: EpisodeWindow
    served: ServedPolicy


class WindowCache:
    """At most `limit` live episodes, least recently used given up first.

    Requests name no epoch, so entries are found by name; the epoch each carries goes into the commit, where the
    store refuses one that is no longer the episode's.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._episodes: OrderedDict[EpisodeName, LiveEpisode] = OrderedDict()

    def get(self, name: EpisodeName) -> LiveEpisode | None:
        """The episode, now the most recently used."""
        episode = self._episodes.get(name)
        if episode is not None:
            self._episodes.move_to_end(name)
        return episode

    def put(self, episode: LiveEpisode) -> None:
        """Keep the episode as of its newest step."""
        name = episode.meta.name
        before = self._episodes.get(name)
        if before is None or before.served is not episode.served:
            self.drop(name)
            self._count(episode, 1)
        self._episodes[name] = episode
        self._episodes.move_to_end(name)
        if len(self._episodes) > self._limit:
            self.drop(next(iter(self._episodes)))

    def drop(self, name: EpisodeName) -> None:
        """Forget what is known of the episode: the next act reads it from Redis."""
        episode = self._episodes.pop(name, None)
        if episode is not None:
            self._count(episode, -1)

    def drop_all_of(self, key: Key) -> None:
        """Forget every episode of a revision."""
        for forgotten in [name for name, episode in self._episodes.items() if episode.served.key == key]:
            self.drop(forgotten)

    def _count(self, episode: LiveEpisode, change: int) -> None:
        self._metrics.active_episodes.labels(episode.meta.policy, episode.meta.revision).inc(change)
