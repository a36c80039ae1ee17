"""Ray cluster: the runs of a sweep as tasks of a Ray cluster, whose machines share this one's file system."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamo.errors import ConfigError
from training.interruption import Interruption
from training.sweeps.file_lock import Held
from training.sweeps.planned_run import PlannedRun
from training.sweeps.side_by_side import OnEnd, Slot, process_of
from training.sweeps.sweep_folder import SweepFolder

SECONDS_BETWEEN_LOOKS = 1.0


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module `ray`, connected to a cluster: its address, "auto", or "local" for one on this machine.

    Raises:
        ConfigError: ray is not installed, or no cluster answers there.
    """
    try:
        import ray  # type: ignore[import-not-found, unused-ignore] # noqa: PLC0415 - only when asked for
    except ImportError as error:
        raise ConfigError("--ray was asked for, but the package ray is not installed") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"no Ray cluster at {address}: {str(error).partition(chr(10))[0]}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class RayTasks:
    """Carries out runs as tasks of a Ray cluster, which decides where and when.

    Args:
        ray: connected.
        device: what the runs train on; None for what the grid says.
        jobs_per_device: runs that share a GPU.
        on_end: told of every run that has ended.
        interruption: once it is requested, runs under way save and end.
    """

    def __init__(
        self,
        ray: Any,
        folder: SweepFolder,
        *,
        device: str | None,
        jobs_per_device: int,
        interruption: Interruption,
        on_end: OnEnd,
    ) -> None:
        self._ray = ray
        self._folder = folder
        self._slot = Slot(device)
        self._jobs_per_device = jobs_per_device
        self._interruption = interruption
        self._on_end = on_end

    def carry_out(self, runs: Sequence[PlannedRun]) -> None:
        """Every run, until all have ended or the interruption is requested."""
        under_way = {self._begin(run): run for run in runs}
        stopped = False
        while under_way:
            if self._interruption.requested and not stopped:
                stopped = True
                for task in under_way:
                    self._ray.cancel(task)
            ended, _ = self._ray.wait(list(under_way), timeout=SECONDS_BETWEEN_LOOKS)
            for task in ended:
                self._take(task, under_way.pop(task))

    def _begin(self, run: PlannedRun) -> Any:
        device = self._slot.device or run.config.device
        gpus = 0 if device == "cpu" else 1 / self._jobs_per_device
        task = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_carry_out)
        return task.options(name=run.name).remote(run, self._folder, self._slot, Path.cwd())

    def _take(self, task: Any, run: PlannedRun) -> None:
        try:
            self._on_end(run, self._ray.get(task))
        except self._ray.exceptions.TaskCancelledError:  # it was stopped, or had not been begun
            return


def _carry_out(run: PlannedRun, folder: SweepFolder, slot: Slot, directory: Path) -> int | None:
    """On a machine of the cluster: one run to its end; relative paths are those of whoever handed it over."""
    os.chdir(directory)
    try:
        with process_of(run, folder, slot) as process:
            try:
                return process.wait()
            except KeyboardInterrupt:  # which is how Ray cancels a task
                process.stop()
                return process.wait()
    except Held:
        return None
