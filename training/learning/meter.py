"""Meter: how fast a run trains and how much memory it takes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Reading:
    """What a meter shows.

    Attributes:
        updates_per_second: since the reading before; None if there was no update.
        peak_memory_bytes: the most that was ever taken: by tensors on a GPU, by the whole process on a CPU.
    """

    updates_per_second: float | None
    peak_memory_bytes: int


class Meter:
    """Counts updates against the clock, which stands still during what is no training."""

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.perf_counter) -> None:
        self._device = device
        self._clock = clock
        self._since = clock()
        self._updates = 0

    def count(self) -> None:
        """One more update."""
        self._updates += 1

    def read(self) -> Reading:
        """Speed since the last reading, and peak memory. On a GPU, ask when its work has been waited for."""
        now = self._clock()
        seconds, updates = now - self._since, self._updates
        self._since, self._updates = now, 0
        return Reading(updates / seconds if updates else None, self._peak_memory_bytes())

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """What is inside takes no time."""
        began = self._clock()
        try:
            yield
        finally:
            self._since += self._clock() - began

    def _peak_memory_bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest if sys.platform == "darwin" else 1024 * largest  # macOS counts bytes, Linux kilobytes
