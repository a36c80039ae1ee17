"""What the rewards of recorded trajectories are turned into before returns-to-go are computed from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lamo.errors import DatasetError
from training.data.trajectories import Trajectories, Trajectory


def differenced(trajectories: Trajectories) -> Trajectories:
    """Pay each solved task once, where the data pay the number of solved tasks at every step.

    D4RL's Kitchen files pay so, while their environment pays a task on the one step that first solves it: at
    training the returns-to-go are hundreds, at evaluation at most 4. The reward of a step becomes what it adds
    to the largest number so far; the first step keeps its own. A task that is undone costs nothing and pays
    nothing when it is solved again. (One that is undone while another is solved hides that one: the number
    does not tell which.)

    Raises:
        DatasetError: a reward is not a number of solved tasks.
    """
    for index, trajectory in enumerate(trajectories):
        rewards = trajectory.rewards
        wrong = rewards[(rewards < 0) | (rewards != np.floor(rewards)) | ~np.isfinite(rewards)]
        if wrong.size:
            raise DatasetError(
                f"{trajectories.source or trajectories.name} pays {wrong[0]:g} in trajectory {index}: "
                "not a number of solved tasks, of which differences could be taken"
            )
    return replace(trajectories, trajectories=tuple(map(_paid_once, trajectories)))


def delayed(trajectories: Trajectories) -> Trajectories:
    """Pay the whole episode return on the last step and nothing before: the delayed-reward setting.

    Its returns-to-go are constant; a policy trained on them keeps the target return through an episode
    (`PolicyConfig.delayed_reward`).
    """
    return replace(trajectories, trajectories=tuple(map(_paid_at_the_end, trajectories)))


def _paid_once(trajectory: Trajectory) -> Trajectory:
    most = np.maximum.accumulate(trajectory.rewards)  # [T]
    return replace(trajectory, rewards=np.diff(most, prepend=0.0))


def _paid_at_the_end(trajectory: Trajectory) -> Trajectory:
    rewards = np.zeros_like(trajectory.rewards)  # [T]
    rewards[-1] = trajectory.episode_return
    return replace(trajectory, rewards=rewards)
