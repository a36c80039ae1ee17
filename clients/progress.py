"""Progress: a bar of episodes played, with the steps per second, on a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from tqdm import tqdm

REFRESH_SECONDS = 0.2


class Progress:
    """A progress bar; where the output is no terminal, it stays silent."""

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._steps = 0
        self._began = self._refreshed = 0.0
        self._bar: tqdm[None] | None = None

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bar = tqdm(total=self._episodes, unit="episode", disable=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def steps(self, steps: int) -> None:
        """So many episodes made a step."""
        self._steps += steps
        now = time.monotonic()
        if self._bar is not None and now - self._refreshed > REFRESH_SECONDS:
            self._refreshed = now
            self._bar.set_postfix_str(f"{self._steps / (now - self._began):.0f} steps/s")

    def episode(self) -> None:
        """One more episode is over."""
        if self._bar is not None:
            self._bar.update()
