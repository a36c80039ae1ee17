"""Turns: several actions timed one after another, again and again, so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

ROUND_SECONDS = 0.01
"""An action that takes less is repeated within its turn: the clock and what runs beside it blur short times."""


def fastest(actions: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Seconds of each action in its fastest turn: what else runs on a machine only ever makes an action slower.

    Every action has two turns at least, one if that takes longer than `seconds`; a first turn counts only where it
    is the only one, for what is called first is allocated first.
    """
    first = {name: _turn(action, 1) for name, action in actions.items()}
    times = {name: max(1, int(ROUND_SECONDS / took)) for name, took in first.items()}
    best = {name: took for name, took in first.items() if took > seconds}
    turning = {name: action for name, action in actions.items() if name not in best}
    end = time.perf_counter() + seconds * len(turning)
    while turning:
        for name, action in turning.items():
            best[name] = min(best.get(name, float("inf")), _turn(action, times[name]))
        if time.perf_counter() > end:
            break
    return {name: best[name] for name in actions}


def _turn(action: Callable[[], object], times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - began) / times
