"""Crane: a gantry crane whose load swings below it; it stands for your own machine, and knows nothing of ours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OBSERVATIONS = ("cart [m]", "cart_velocity [m/s]", "sway [rad]", "sway_rate [rad/s]", "distance [m]")
ACTION = "acceleration [m/s^2]"

STEP_SECONDS = 0.2
MAX_STEPS = 80
STRONGEST = 0.8
"""The drive gives no more, m/s^2."""

RAIL = 9.0
"""Length of the rail, m; before either end the drive brakes by itself, whatever it was told."""

LARGEST_SWAY = 0.2
"""Beyond it, in rad, the emergency stop ends the lift."""

_GRAVITY, _ROPE, _DAMPING, _SUBSTEPS = 9.81, 4.0, 0.05, 10
_SENSOR_NOISE = np.array((0.002, 0.005, 0.002, 0.005, 0.002))
_NEAR = 0.5
"""How far from the goal the load still earns something, m."""


@dataclass(frozen=True)
class Reading:
    """What the machine says after a step.

    Attributes:
        observation: as `OBSERVATIONS`, [5].
        reward: 1 where the load hangs over the goal, less the farther it is from it.
        executed_action: what the drive really did, [1].
        terminated: the emergency stop ended the lift.
        truncated: the time is up.
    """

    observation: NDArray[np.float64]
    reward: float
    executed_action: NDArray[np.float64]
    terminated: bool
    truncated: bool


class Crane:
    """One lift: carry the load over the goal and keep it still there.

    Args:
        generator: draws the goal, how the load hangs at first, and what the sensors add.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._goal = generator.uniform(3.0, 6.0)
        self._cart, self._velocity = 0.5, 0.0
        self._sway, self._sway_rate = generator.normal(0.0, 0.03), 0.0
        self._steps = 0

    def observe(self) -> NDArray[np.float64]:
        """What the sensors show now, [5]."""
        distance = self._goal - self._cart
        exact = np.array((self._cart, self._velocity, self._sway, self._sway_rate, distance))
        return exact + self._generator.normal(0.0, _SENSOR_NOISE)

    def step(self, acceleration: float) -> Reading:
        """Drive for `STEP_SECONDS`."""
        executed = self._guarded(float(np.clip(acceleration, -STRONGEST, STRONGEST)))
        for _ in range(_SUBSTEPS):
            self._move(executed, STEP_SECONDS / _SUBSTEPS)
        self._steps += 1
        offset = self._cart + _ROPE * math.sin(self._sway) - self._goal
        terminated = abs(self._sway) > LARGEST_SWAY
        return Reading(
            observation=self.observe(),
            reward=math.exp(-((offset / _NEAR) ** 2)),
            executed_action=np.array([executed]),
            terminated=terminated,
            truncated=not terminated and self._steps == MAX_STEPS,
        )

    def _guarded(self, acceleration: float) -> float:
        """Braking instead, where after this step it would be too late to stop before the end of the rail."""
        speed = self._velocity + acceleration * STEP_SECONDS
        needed = speed**2 / (2 * STRONGEST) + abs(speed) * STEP_SECONDS
        ahead = RAIL - self._cart if speed > 0 else self._cart
        return (
            float(np.clip(-self._velocity / STEP_SECONDS, -STRONGEST, STRONGEST))
            if needed > ahead
            else acceleration
        )

    def _move(self, acceleration: float, seconds: float) -> None:
        swing = -(_GRAVITY * math.sin(self._sway) + acceleration * math.cos(self._sway)) / _ROPE
        self._velocity += acceleration * seconds
        self._cart += self._velocity * seconds
        self._sway_rate += (swing - _DAMPING * self._sway_rate) * seconds
        self._sway += self._sway_rate * seconds
