"""Kitchen: a Franka arm and four things to do in a kitchen, observed as in D4RL's Kitchen files.

Importing this module registers `KitchenComplete-v0`, `KitchenPartial-v0` and `KitchenMixed-v0`;
`gymnasium.make("training.kitchen:KitchenComplete-v0")` does so by itself. The simulator is Gymnasium-Robotics'
FrankaKitchen (Gupta et al., 2019, arXiv 1910.11956); what D4RL (Fu et al., 2020, arXiv 2004.07219, release 1.1)
makes of the same kitchen is put back here: the observation, its noise and the reward's unit.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES, KitchenEnv
from numpy.typing import NDArray

HORIZON = 280
ROBOT_JOINTS = 9
POSITIONS = 30  # of the robot, then 21 of the objects

NOISE_RATIO = 0.1
# D4RL draws every position's noise from its table of a robot at a desk, row by row, whatever object the row now
# falls on; FrankaKitchen does so for the robot alone, and shifts the objects by one row. Rows 9 to 29:
_OBJECT_NOISE = np.repeat([0.005, 0.0005, 0.005, 0.1, 0.005, 0.1, 0.005], [2, 6, 3, 3, 3, 3, 1])

# D4RL trains "complete" and "partial" in one environment: their data differ, not their tasks.
TASKS = {
    "KitchenComplete-v0": ("microwave", "kettle", "light switch", "slide cabinet"),
    "KitchenPartial-v0": ("microwave", "kettle", "light switch", "slide cabinet"),
    "KitchenMixed-v0": ("microwave", "kettle", "bottom burner", "light switch"),
}


class Kitchen(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The kitchen, the tasks to be done in it and their reward.

    Actions are the velocities of the seven joints and two fingers as shares, in [-1, 1], of 2 rad/s (2 m/s) and
    held for 0.08 s; what lies outside is clamped. The observation is float32 [60]: positions of the joints and
    fingers (9), of the objects (21: four knobs each with its burner, light switch, light, sliding door, two
    hinged doors, microwave, then the kettle's place and quaternion), and the goal (30): the goal positions of
    the tasks' own objects, zero elsewhere. A task is done when its object is within 0.3 of its goal position,
    measured without the noise that D4RL measures with. It pays 1 the first time, and nothing when it is undone
    and done again. An episode never terminates, not even with all tasks done, where D4RL's ends without having
    more to pay; registration truncates it after 280 steps.

    Args:
        tasks: what is to be done, in the names of `gymnasium_robotics`' FrankaKitchen.
        render_mode: "rgb_array", or None for an environment that cannot be looked at.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012 - Gymnasium's name

    def __init__(self, tasks: tuple[str, ...], render_mode: str | None = None) -> None:
        self.simulator = KitchenEnv(
            tasks_to_complete=list(tasks),
            terminate_on_tasks_completed=False,
            robot_noise_ratio=NOISE_RATIO,
            object_noise_ratio=0.0,
            render_mode=render_mode,
        )
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-8.0, 8.0, (2 * POSITIONS,), np.float32)  # D4RL's bounds
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (ROBOT_JOINTS,), np.float32)
        self._goal = np.zeros(POSITIONS)
        for task in tasks:
            self._goal[OBS_ELEMENT_INDICES[task]] = OBS_ELEMENT_GOALS[task]

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """The one pose every episode begins in; only the noise of what is observed differs."""
        super().reset(seed=seed, options=options)
        shown, info = self.simulator.reset(seed=seed)
        return self._observation(shown), self._info(info)

    def step(
        self,
        action: NDArray[np.float32],  # [9]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold the velocities for 0.08 s, measured from the observed positions, noise and all, as D4RL does."""
        shown, reward, _, _, info = self.simulator.step(action)
        return self._observation(shown), float(reward), False, False, self._info(info)

    def render(self) -> Any:
        """The picture of now, uint8 [480, 480, 3]."""
        return self.simulator.render()

    def close(self) -> None:
        """Free the simulator."""
        self.simulator.close()

    def _observation(self, shown: dict[str, Any]) -> NDArray[np.float32]:
        robot = shown["observation"][:ROBOT_JOINTS]  # with its noise
        objects = self.simulator.data.qpos[ROBOT_JOINTS:]
        noise = self.simulator.robot_env.np_random.uniform(-1.0, 1.0, objects.shape)
        parts = (robot, objects + NOISE_RATIO * _OBJECT_NOISE * noise, self._goal)
        return np.concatenate(parts).astype(np.float32)  # [60]

    @staticmethod
    def _info(info: dict[str, Any]) -> dict[str, Any]:
        return {"completed": sorted(info["episode_task_completions"])}


for _name, _tasks in TASKS.items():
    gymnasium.register(
        id=_name, entry_point="training.kitchen:Kitchen", max_episode_steps=HORIZON, kwargs={"tasks": _tasks}
    )
