"""Side by side: the runs of a sweep as processes of this machine, several on one device."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from training.interruption import Interruption
from training.sweeps.file_lock import Held
from training.sweeps.planned_run import PlannedRun, Value
from training.sweeps.run_process import RunProcess
from training.sweeps.sweep_folder import State, SweepFolder

SECONDS_BETWEEN_LOOKS = 0.1

OnEnd = Callable[[PlannedRun, int | None], None]
"""Called with a run that has ended and its exit code; None if somebody else is at work on it."""


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

    Attributes:
        device: what runs here train on; None for what the grid says.
        threads: CPU threads for runs that do not say how many; None for torch's choice.
    """

    device: str | None = None
    threads: int | None = None

    @property
    def options(self) -> Mapping[str, Value]:
        """What this place decides about a run."""
        return {} if self.device is None else {"device": self.device}

    @property
    def environment(self) -> Mapping[str, str]:
        """Keeps runs beside each other from each starting a thread for every core."""
        return {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}


def slots(devices: Sequence[str | None], jobs_per_device: int) -> list[Slot]:
    """So many places on each device, which share this machine's cores; a place is taken on each in turn."""
    count = len(devices) * jobs_per_device
    threads = None if count == 1 else max(1, (os.cpu_count() or 1) // count)
    return [Slot(device, threads) for _ in range(jobs_per_device) for device in devices]


def process_of(run: PlannedRun, folder: SweepFolder, slot: Slot) -> RunProcess:
    """The process that begins a run, or goes on with it."""
    path = folder.run_folder(run).path
    begun = folder.state(run) is not State.NOT_BEGUN
    words = (run.words_to_go_on if begun else run.words_to_begin)(path, slot.options)
    return RunProcess(path, words, slot.environment)


class SideBySide:
    """Carries out runs, one in every slot at a time.

    Args:
        on_end: told of every run that has ended.
        interruption: once it is requested no run is begun any more, and those under way save and end.
    """

    def __init__(
        self, folder: SweepFolder, free: Sequence[Slot], interruption: Interruption, on_end: OnEnd
    ) -> None:
        self._folder = folder
        self._free = list(free)
        self._interruption = interruption
        self._on_end = on_end
        self._under_way: dict[RunProcess, tuple[PlannedRun, Slot, ExitStack]] = {}

    def carry_out(self, runs: Iterable[PlannedRun]) -> None:
        """Every run, until all have ended or the interruption is requested."""
        waiting, stopped = list(runs), False
        try:
            while waiting or self._under_way:
                if self._interruption.requested and not stopped:
                    waiting, stopped = [], True
                    for process in self._under_way:
                        process.stop()
                while waiting and self._free:
                    self._begin(waiting.pop(0), self._free.pop(0))
                self._take_ended()
                time.sleep(SECONDS_BETWEEN_LOOKS)
        finally:
            for _, _, stack in self._under_way.values():
                stack.close()

    def _begin(self, run: PlannedRun, slot: Slot) -> None:
        stack = ExitStack()
        try:
            process = stack.enter_context(process_of(run, self._folder, slot))
        except Held:
            self._free.append(slot)
            self._on_end(run, None)
            return
        self._under_way[process] = (run, slot, stack)

    def _take_ended(self) -> None:
        for process in list(self._under_way):
            if (exit_code := process.exit_code()) is not None:
                run, slot, stack = self._under_way.pop(process)
                stack.close()
                self._free.append(slot)
                self._on_end(run, exit_code)
