"""The policy behind BentoML: batched by `@bentoml.api(batchable=True)`, one worker, which keeps the windows."""

from __future__ import annotations

import bentoml
from history import BATCH_LIMIT, History, Step

LATENCY_LIMIT_MS = 60_000
"""BentoML's own default; it sends requests away that would wait longer."""


@bentoml.service(workers=1, traffic={"timeout": 300}, logging={"access": {"enabled": False}})
class PolicyServer:
    """Adaptive batching decides how many steps share a forward pass, and how long the first one waits."""

    def __init__(self) -> None:
        self._history = History.open()

    @bentoml.api(route="/act", batchable=True, max_batch_size=BATCH_LIMIT, max_latency_ms=LATENCY_LIMIT_MS)
    def act(self, steps: list[Step]) -> list[list[float]]:
        """An action for each step of a batch."""
        return self._history.act(steps)
