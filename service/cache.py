"""WindowCache: the windows of the episodes this engine acted on last; Redis is the truth, this saves reads."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from lamo.window import EpisodeWindow
from service.engine import ServedPolicy
from service.episodes import EpisodeMeta
from service.metrics import Metrics


@dataclass(frozen=True)
class LiveEpisode:
    """An episode as of its last committed step: where it stands, what its policy sees, and that policy."""

    meta: EpisodeMeta
    window: EpisodeWindow
    served: ServedPolicy


class WindowCache:
    """At most `limit` live episodes, least recently used given up first.

    Requests name no epoch, so entries are found by id; the epoch each carries goes into the commit, where the
    store refuses one that is no longer the episode's.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit = limit
        self._metrics = metrics
        self._episodes: OrderedDict[str, LiveEpisode] = OrderedDict()

    def get(self, episode_id: str) -> LiveEpisode | None:
        """The episode, now the most recently used."""
        episode = self._episodes.get(episode_id)
        if episode is not None:
            self._episodes.move_to_end(episode_id)
        return episode

    def put(self, episode: LiveEpisode) -> None:
        """Keep the episode as of its newest step."""
        episode_id = episode.meta.episode_id
        before = self._episodes.get(episode_id)
        if before is None or before.served is not episode.served:
            self.drop(episode_id)
            self._count(episode, 1)
        self._episodes[episode_id] = episode
        self._episodes.move_to_end(episode_id)
        if len(self._episodes) > self._limit:
            self.drop(next(iter(self._episodes)))

    def drop(self, episode_id: str) -> None:
        """Forget what is known of the episode: the next act reads it from Redis."""
        episode = self._episodes.pop(episode_id, None)
        if episode is not None:
            self._count(episode, -1)

    def _count(self, episode: LiveEpisode, change: int) -> None:
        self._metrics.active_episodes.labels(episode.meta.policy, episode.meta.revision).inc(change)
