"""AntD4RL: Gymnasium's Ant-v4, observed as in D4RL's Ant files.

Importing this module registers `AntD4RL-v0`; `gymnasium.make("training.ant:AntD4RL-v0")` does so by itself.

D4RL's files hold 111 numbers of Gym's Ant-v2: 13 positions, 14 velocities and 84 contact forces, and of the last
84 not one is ever other than zero (Farama-Foundation/D4RL issue 143): MuJoCo 2.0 stopped to compute them unless
asked (openai/gym issue 1541). `Ant-v4` leaves them out, and `use_contact_forces=True` brings real ones, which
no policy trained on those files has seen, with a cost that their rewards do not have. So here they stay zero.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.mujoco.ant_v4 import AntEnv
from gymnasium.wrappers import TransformObservation
from numpy.typing import NDArray

HORIZON = 1000
CONTACT_FORCES = 84  # 14 bodies with 6 numbers each


def ant_d4rl(render_mode: str | None = None) -> gymnasium.Env[NDArray[np.float64], NDArray[np.float32]]:
    """Ant-v4 with its 27 numbers followed by 84 zeros: observations float64 [111], actions float32 [8]."""
    ant: gymnasium.Env[Any, Any] = AntEnv(render_mode=render_mode)  # type: ignore[no-untyped-call]
    space = gymnasium.spaces.Box(-np.inf, np.inf, (27 + CONTACT_FORCES,), np.float64)
    return TransformObservation(ant, lambda shown: np.concatenate([shown, np.zeros(CONTACT_FORCES)]), space)


gymnasium.register(id="AntD4RL-v0", entry_point="training.ant:ant_d4rl", max_episode_steps=HORIZON)
