"""The scripted behavior policy of Reacher2d: a Jacobian-transpose PD controller of varying quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.reacher2d import JOINT_OFFSET, STEP_SECONDS, UPPER_ARM_LENGTH

# Keeps the policy's numbers apart from those that the environment draws from the same episode seed.
_POLICY_STREAM = 1


@dataclass(frozen=True)
class Quality:
    """How well one episode is played.

    Attributes:
        stiffness: torque per metre of lever and metre of distance; 10 is brisk, 1 barely moves.
        damping: torque per radian per second against the motion; too little overshoots, too much crawls.
        noise: standard deviation of the white noise added to both torques at every step.
        aim_error: where the episode aims, relative to the target, in metres (x, y).
    """

    stiffness: float
    damping: float
    noise: float
    aim_error: tuple[float, float]

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Quality:
        """A quality between hopeless and excellent; over many episodes the mean return is near 36 of 100."""
        stiffness = math.exp(generator.uniform(math.log(2.25), math.log(15.0)))
        damping_ratio = generator.uniform(0.15, 0.3)
        noise = generator.uniform(0.0, 1.0)
        aim_x, aim_y = generator.normal(0.0, 0.02, size=2)
        return cls(stiffness, damping_ratio * stiffness, noise, (float(aim_x), float(aim_y)))


class BehaviorPolicy:
    """Pulls the fingertip to the target through the transposed Jacobian; sees nothing but observations."""

    def __init__(self, quality: Quality, generator: np.random.Generator) -> None:
        self.quality = quality
        self._generator = generator

    @classmethod
    def for_episode(cls, seed: int) -> BehaviorPolicy:
        """The policy of mixed quality as it plays the episode whose environment is reset with `seed`.

        Quality and noise follow from the seed alone, so a data set's episode can be played again, and the
        mixed policy can be scored on any evaluation seeds.
        """
        generator = np.random.default_rng([_POLICY_STREAM, seed])
        return cls(Quality.draw(generator), generator)

    def act(
        self,
        observation: NDArray[np.float32],  # [12]
    ) -> NDArray[np.float32]:  # [2]
        """The torques to execute, already within the action bounds [-1, 1]."""
        sines, cosines, scaled_velocities, tip, _, offset = observation.astype(np.float64).reshape(6, 2)
        angle = math.atan2(sines[0], cosines[0]) + JOINT_OFFSET
        elbow = UPPER_ARM_LENGTH * np.array([math.cos(angle), math.sin(angle)])
        forearm = tip - elbow
        jacobian = np.array([[-tip[1], -forearm[1]], [tip[0], forearm[0]]])  # d tip / d joint angles
        force = self.quality.stiffness * (np.array(self.quality.aim_error) - offset)
        torque = jacobian.T @ force - self.quality.damping * scaled_velocities / STEP_SECONDS
        torque += self.quality.noise * self._generator.standard_normal(2)
        return np.clip(torque, -1.0, 1.0).astype(np.float32)
