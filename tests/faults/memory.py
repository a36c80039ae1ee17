"""Memory: what each process of a site holds over time, and whether it grows."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import numpy as np

SAMPLE_SECONDS = 1.0

WARM_UP_SECONDS = 60.0
"""Of each process's life: it imports, loads, warms up and fills its caches."""

JUDGED_SECONDS = 100.0
"""Of a life after that; over a few seconds a slope says nothing."""

GROWTH_MB_PER_MINUTE = 1.0
"""More than this is growth; a soak of half an hour answers some hundred thousand steps."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Memory:
    """Samples of processes by role; one that was started again in a role begins another life.

    Attributes:
        processes: the living ones, their pids by role.
    """

    processes: Callable[[], Mapping[str, int]]
    lives: dict[tuple[str, int], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _failure: Exception | None = None

    def __post_init__(self) -> None:
        self._over = Event()
        self._thread = Thread(target=self._sample, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Stop, and raise what kept it from looking."""
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def table(self) -> list[tuple[str, int, float, float, float]]:
        """Role, lives, largest MB, growth in MB per minute, and in the second half; see `growth`."""
        roles = sorted({role for role, _ in self.lives})
        return [
            (role, len(self._of(role)), self._largest(role), self.growth(role), self.growth(role, skipped=0.5))
            for role in roles
        ]

    def growth(self, role: str, *, skipped: float = 0.0) -> float:
        """The slope that fits all long lives of a role after their warm-up, each from a level of its own.

        Args:
            skipped: the share of each life, after its warm-up, that is left out too: what settles grows less and
                less, what leaks does not.

        Returns:
            MB per minute; not a number where no life was long enough.
        """
        product = square = 0.0
        for life in self._of(role):
            times, sizes = np.array(life).T
            begin = times[0] + WARM_UP_SECONDS
            late = times >= begin + skipped * max(0.0, times[-1] - begin)
            if late.any() and np.ptp(times[late]) >= JUDGED_SECONDS:
                centred = times[late] - times[late].mean()
                product += float(centred @ sizes[late])
                square += float(centred @ centred)
        return 60 * product / square if square else float("nan")

    def _of(self, role: str) -> list[list[tuple[float, float]]]:
        return [life for (name, _), life in self.lives.items() if name == role]

    def _largest(self, role: str) -> float:
        return max(size for life in self._of(role) for _, size in life)

    def _sample(self) -> None:
        try:
            while not self._over.wait(SAMPLE_SECONDS):
                for role, pid in self.processes().items():
                    size = resident_mb(pid)
                    if size:
                        self.lives[role, pid].append((time.monotonic(), size))
        except Exception as error:
            self._failure = error


def resident_mb(pid: int) -> float:
    """What a process holds in memory; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
