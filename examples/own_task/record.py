"""Records a crane's log: a scripted operator of mixed skill at the controls, one CSV row a timestep.

    python -m examples.own_task.record crane/log.csv

Your machine has such a log, or can write one: the names in `HEADER` are all that the next step asks for.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.own_task.crane import ACTION, OBSERVATIONS, Crane

HEADER = (
    "episode", "step", *(f"observation.{name}" for name in OBSERVATIONS), f"action.{ACTION}",
    "reward", "terminated", "truncated",
)  # fmt: skip


class Operator:
    """Somebody who drives to the goal, brakes, and, with skill, follows the load's sway; another one every lift."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        skill = generator.uniform()
        self._towards = generator.uniform(0.15, 0.5)
        self._braking = generator.uniform(0.5, 1.3)
        self._following = skill * generator.uniform(-1.0, 4.5)
        self._clumsiness = 0.02 + (1.0 - skill) * generator.uniform(0.02, 0.4)

    def act(self, observation: NDArray[np.float64]) -> float:
        """The acceleration the operator asks for, m/s^2."""
        _, velocity, sway, _, distance = observation
        wanted = self._towards * distance - self._braking * velocity + self._following * sway
        return float(wanted + self._generator.normal(0.0, self._clumsiness))


def rows(episodes: int, seed: int) -> Iterator[tuple[object, ...]]:
    """The log's rows; the action is what the drive really did, not what it was asked for."""
    for episode, sequence in enumerate(np.random.SeedSequence(seed).spawn(episodes)):
        generator = np.random.default_rng(sequence)
        crane, operator = Crane(generator), Operator(generator)
        observation, step, going = crane.observe(), 0, True
        while going:
            reading = crane.step(operator.act(observation))
            seen = (f"{value:.4f}" for value in observation)
            did = f"{reading.executed_action[0]:.4f}"
            yield episode, step, *seen, did, f"{reading.reward:.4f}", reading.terminated, reading.truncated
            observation, step, going = reading.observation, step + 1, not (reading.terminated or reading.truncated)


def record(path: Path, episodes: int, seed: int) -> None:
    """Write the log of so many lifts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows(rows(episodes, seed))


def main() -> None:
    """Parse the command line and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("log", type=Path, help="CSV file to write")
    parser.add_argument("--episodes", type=int, default=60, help="lifts (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed writes the same file")
    options = parser.parse_args()
    record(options.log, options.episodes, options.seed)


if __name__ == "__main__":
    main()
