"""Videos: chosen episodes of an evaluation as MP4 files, written while they are played and scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v3 as imageio

from lamo.errors import ConfigError, SimulatorError
from lamo.rollout import Environment, EpisodePlan
from training.environments import make_environment


class VideoRecorder:
    """Draws the episodes it is shown by `lamo.rollout.play`, where they are among the chosen.

    Attributes:
        files: where each chosen episode's video goes, by the index of its plan.
        frames_per_second: at which one timestep lasts as long as in the simulated world.
    """

    def __init__(self, files: Mapping[int, Path], frames_per_second: int) -> None:
        self.files = files
        self.frames_per_second = frames_per_second
        self._writers: dict[int, Any] = {}

    def watch(self, episode: int, environment: Environment) -> None:
        """Add the picture of now to the episode's video, if it has one."""
        if episode not in self.files:
            return
        if episode not in self._writers:
            self._writers[episode] = self._open(self.files[episode])
        picture = environment.render()  # uint8 [height, width, 3]
        even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2]  # the codec takes no other
        self._writers[episode].write_frame(even)

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()

    def _open(self, path: Path) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = imageio.imopen(path, "w", plugin="pyav")
        writer.init_video_stream("libx264", fps=self.frames_per_second)
        return writer


def video_files(folder: Path, episodes: Sequence[EpisodePlan], hop: int, per_target: int) -> dict[int, Path]:
    """A file for the first `per_target` episodes of each target return, by the index of the plan.

    Raises:
        ConfigError: fewer than one.
    """
    if per_target < 1:
        raise ConfigError(f"videos is {per_target}, it must be at least 1")
    files: dict[int, Path] = {}
    of_target: dict[float, int] = {}
    for index, plan in enumerate(episodes):
        of_target[plan.target_return] = of_target.get(plan.target_return, 0) + 1
        if of_target[plan.target_return] <= per_target:
            files[index] = folder / f"target-{plan.target_return:g}-hop-{hop}-seed-{plan.seed}.mp4"
    return files


def frames_per_second(environment_name: str) -> int:
    """How many pictures of this environment make a second, after one was drawn.

    Raises:
        SimulatorError: it cannot be made, or no picture of it can be drawn on this machine.
    """
    environment = make_environment(environment_name, render_mode="rgb_array")
    try:
        environment.reset(seed=0)
        environment.render()
        return int(environment.metadata.get("render_fps", 30))
    except Exception as error:  # each library that draws fails in its own way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SimulatorError(
            f"environment {environment_name!r} cannot be drawn here: {reason}. Where there is no display, "
            "MuJoCo draws with the environment variable MUJOCO_GL=egl, or =osmesa"
        ) from error
    finally:
        environment.close()


@contextmanager
def recording(files: Mapping[int, Path], frames_per_second: int) -> Iterator[VideoRecorder]:
    """A recorder whose files are finished whatever happens to the evaluation."""
    recorder = VideoRecorder(files, frames_per_second)
    try:
        yield recorder
    finally:
        recorder.close()
