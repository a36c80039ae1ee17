"""Reacher2d: a two-joint planar arm that is paid for every step its fingertip rests on a target.

Importing this module registers `Reacher2d-v0`; `gymnasium.make("training.reacher2d:Reacher2d-v0")` does so by
itself. The model is rebuilt from facts about the sparse-reward task of the LaMo paper (Shi et al., 2024).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

HORIZON = 100
FRAME_SKIP = 15
STEP_SECONDS = 0.15  # FRAME_SKIP physics steps of 0.01 s
REACH_DISTANCE = 0.1
UPPER_ARM_LENGTH = 0.6
JOINT_OFFSET = 0.785  # the shoulder body is turned by +, the elbow body by - this angle

MODEL_XML = """
<mujoco model="reacher2d">
  <compiler angle="radian" inertiafromgeom="true"/>
  <option gravity="0 0 0" integrator="RK4" timestep="0.01"/>
  <default>
    <joint armature="0.05" damping="1"/>
    <geom density="1000" condim="1"/>
  </default>
  <worldbody>
    <geom name="floor" type="plane" pos="0 0 -0.15" size="2 2 0.1"/>
    <geom name="root" type="capsule" fromto="0 0 -0.1 0 0 0.1" size="0.1"/>
    <body name="shoulder" pos="0 0 -0.075" euler="0 0 0.785">
      <joint name="shoulder" type="hinge" axis="0 0 1" limited="false"/>
      <geom name="upper_arm" type="capsule" fromto="0 0 0 0.6 0 0" size="0.05"/>
      <body name="elbow" pos="0.6 0 0" euler="0 0 -0.785">
        <joint name="elbow" type="hinge" axis="0 0 1" limited="true" range="-2.0 3.5"/>
        <geom name="forearm" type="capsule" fromto="0 0 0 0.4 0 0" size="0.05"/>
        <site name="fingertip" pos="0.45 0 0" size="0.05"/>
      </body>
    </body>
    <body name="target" pos="0.6 0.6 -0.1">
      <geom name="target" type="cylinder" size="0.1 0.01" contype="0" conaffinity="0" rgba="0.8 0.2 0.1 1"/>
    </body>
  </worldbody>
  <contact>
    <!-- The upper arm turns inside the root: a contact without torque, whose normal is undefined. -->
    <exclude body1="world" body2="shoulder"/>
  </contact>
  <actuator>
    <motor joint="shoulder" gear="1" ctrllimited="true" ctrlrange="-1 1"/>
    <motor joint="elbow" gear="1" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>
"""

_CAMERA = {"lookat": np.zeros(3), "distance": 3.0, "azimuth": 90.0, "elevation": -90.0}  # from above, y upwards

# sin q | cos q | 0.15 * velocity | fingertip | target | fingertip - target. The arm is 1.05 long. Two torques
# of 1 against damping 1 lose energy above |velocity| = sqrt(2); the inertia matrix's eigenvalues have a ratio
# of at most 27, so no joint passes sqrt(2 * 27) = 7.4 rad/s: 1.5 holds for the third pair.
_OBSERVATION_BOUND = np.repeat(np.array([1.0, 1.0, 1.5, 1.1, 1.0, 2.1], dtype=np.float32), 2)


class Reacher2d(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The arm, its target and its sparse reward.

    Actions are the two joints' torques in [-1, 1]; MuJoCo clamps what lies outside. The observation is
    float32 [12]: sin q, cos q, 0.15 * velocity in radians per step (two joints each), fingertip, target,
    fingertip - target in metres (x, y each). The reward is 1 on every step that ends with the fingertip
    nearer than 0.1 to the target in L1 distance, else 0. An episode never terminates; registration truncates
    it after 100 steps.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012 - Gymnasium's name

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = gymnasium.spaces.Box(-_OBSERVATION_BOUND, _OBSERVATION_BOUND, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, shape=(2,), dtype=np.float32)
        self.model = mujoco.MjModel.from_xml_string(MODEL_XML)
        self.data = mujoco.MjData(self.model)
        self.render_mode = render_mode
        self._renderer: Any = None

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Joint angles uniform in (-2, 2), at rest; target uniform in the ring 0.5 <= norm <= 1."""
        super().reset(seed=seed, options=options)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:] = self.np_random.uniform(-2.0, 2.0, size=2)
        self.model.body("target").pos[:2] = self._draw_target()
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), self._info()

    def step(
        self,
        action: NDArray[np.float32],  # [2]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold the two torques for 0.15 s."""
        self.data.ctrl[:] = action
        mujoco.mj_step(self.model, self.data, nstep=FRAME_SKIP)
        # mj_step leaves site positions of before its last substep; the observation needs the final ones.
        mujoco.mj_kinematics(self.model, self.data)
        info = self._info()
        return self._observation(), float(info["is_success"]), False, False, info

    def render(self) -> Any:
        """The picture of now from above, uint8 [480, 480, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        if self._renderer is None:
            # It loads OpenGL, without which everything else here runs.
            from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer  # noqa: PLC0415

            self._renderer = MujocoRenderer(self.model, self.data, _CAMERA, width=480, height=480)
        return self._renderer.render(self.render_mode)

    def close(self) -> None:
        """Free what pictures are drawn with."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _draw_target(self) -> NDArray[np.float64]:
        while True:
            target = self.np_random.uniform(-1.5, 1.5, size=2)
            if 0.5 <= np.linalg.norm(target) <= 1.0:
                return target

    def _tip_and_target(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.data.site("fingertip").xpos[:2].copy(), self.data.body("target").xpos[:2].copy()

    def _observation(self) -> NDArray[np.float32]:
        angles, velocities = self.data.qpos, self.data.qvel
        tip, target = self._tip_and_target()
        parts = (np.sin(angles), np.cos(angles), STEP_SECONDS * velocities, tip, target, tip - target)
        return np.concatenate(parts).astype(np.float32)  # [12]

    def _info(self) -> dict[str, Any]:
        tip, target = self._tip_and_target()
        distance = float(np.abs(tip - target).sum())
        return {"distance": distance, "is_success": distance < REACH_DISTANCE}


gymnasium.register(id="Reacher2d-v0", entry_point="training.reacher2d:Reacher2d", max_episode_steps=HORIZON)
