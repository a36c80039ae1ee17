"""Processes: those that train one run together, through `accelerate`; most often there is one.

`accelerate launch` (or `torchrun`) starts the command several times. Every process makes the same draws from the
same seeds and puts its share of each batch through the network; the first one leads: it alone evaluates and writes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DynamoBackend,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    broadcast_object_list,
)

from lamo.errors import ConfigError
from training.interruption import Interrupted
from training.learning.config import TrainConfig
from training.learning.device import usable_device

MIXED_PRECISION = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Our name of a precision -> that of `accelerate`."""

PATIENCE = timedelta(hours=12)
"""How long processes wait for the one that leads, which may be evaluating; if it dies, the launcher ends them."""

AGREE_EVERY_ON_GPU = 16
"""Updates between two questions whether anyone was interrupted: each waits for the device."""


class Processes:
    """This process among those of its run."""

    def __init__(self, accelerator: Accelerator, device: torch.device) -> None:
        self.accelerator = accelerator
        self.device = device
        self.count: int = accelerator.num_processes
        self.index: int = accelerator.process_index
        self.leads: bool = self.index == 0

    @classmethod
    def join(cls, config: TrainConfig) -> Processes:
        """Meet the others where a launcher started several; alone otherwise.

        Raises:
            ConfigError: the device or the precision cannot be used here, or a process would be left without rows.
        """
        device = usable_device(config.device)
        if config.precision == "fp16" and device.type == "cpu":
            raise ConfigError("precision fp16 needs a GPU, the device is cpu; there, bf16 is the shorter one")
        _forget_precision()
        try:
            accelerator = Accelerator(
                cpu=device.type == "cpu",
                device_placement=False,
                mixed_precision=MIXED_PRECISION[config.precision],
                dynamo_backend=DynamoBackend.INDUCTOR if config.compile else DynamoBackend.NO,
                # A number here would be overruled by the launcher's environment; accumulation is the learner's.
                gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
                kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
            )
        except ValueError as error:
            raise ConfigError(f"precision {config.precision} on device {config.device}: {error}") from error
        parts = accelerator.num_processes * config.accumulate
        if config.batch_size < parts:
            raise ConfigError(
                f"batch_size is {config.batch_size}, it must be at least {parts}: "
                f"{accelerator.num_processes} processes times accumulate {config.accumulate}"
            )
        return cls(accelerator, accelerator.device if accelerator.num_processes > 1 else device)

    def lead(self, action: Callable[[], object]) -> None:
        """Let the first process do it while the others wait.

        Raises:
            Interrupted: it was interrupted; all processes hear of it.
            SystemExit: in the others, where it failed in the first, which raises what it failed with.
        """
        if self.count == 1:
            action()
            return
        error: BaseException | None = None
        if self.leads:
            try:
                action()
            except BaseException as caught:  # whatever it is, the others must not wait for ever
                error = caught
        interrupted, failed = broadcast_object_list([isinstance(error, Interrupted), error is not None])
        if error is not None:
            raise error
        if interrupted:
            raise Interrupted
        if failed:
            raise SystemExit(2)

    def leader_first(self) -> AbstractContextManager[None]:
        """What is inside is done by the first process and then by the others, who find what it downloaded."""
        first: AbstractContextManager[None] = self.accelerator.main_process_first()
        return first

    def any(self, requested: bool, update: int) -> bool:
        """Whether it was requested of any process; asked before each update, all processes get one answer."""
        if self.count == 1:
            return requested
        if self.device.type != "cpu" and update % AGREE_EVERY_ON_GPU:
            return False
        flags = torch.tensor([float(requested)], device=self.device)
        return bool(self.accelerator.reduce(flags, reduction="sum").item())

    def leave(self) -> None:
        """Close the connections between the processes."""
        self.accelerator.end_training()


def _forget_precision() -> None:
    """`accelerate` allows a process one precision and device for its life; a process may train several runs."""
    if AcceleratorState._shared_state:
        AcceleratorState._reset_state(reset_partial_state=AcceleratorState().num_processes == 1)
