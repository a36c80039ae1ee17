"""Engine: the policies on their device, and the one thread that runs them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lamo import checkpoint
from lamo.errors import ConfigError, EngineUnavailable, UnknownPolicy
from lamo.heap import keep_freed_memory
from lamo.policy import SLOT_BYTES, Policy
from lamo.window import EpisodeWindow
from service.callers import EpisodeName, Limits

Answer = TypeVar("Answer")

LARGE_PARAMETERS = 10_000_000
"""Between the demo's network of under one million, and GPT-2 small's of 85 million."""


@dataclass(frozen=True)
class ServedPolicy:
    """A policy under the name it is asked for by."""

    name: str
    policy: Policy

    @property
    def revision(self) -> str:
        """The checkpoint's identity."""
        return self.policy.revision


class Engine:
    """Loads every policy of a folder once and runs them in a thread of its own, never on the event loop.

    Attributes:
        folder: the policies folder.
        device: "cpu", "cuda", "cuda:1" ...; "auto" becomes "cuda" where there is one, else "cpu", when it opens.
        dtype: what the network computes in, "float32" or "bfloat16".
        reproducible: whether an action is the same bits whoever shares its batch.
        batch_limit: rows of the largest forward pass.
        threads: of one forward pass on a CPU; `default_threads` if None.
        lost: what went wrong with the accelerator; nothing more can be computed in this process then.
        slot_bytes: of each policy, for keys and values of live windows; 0 computes every window whole.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        reproducible: bool = False,
        batch_limit: int = 64,
        threads: int | None = None,
        slot_bytes: int = SLOT_BYTES,
    ) -> None:
        self.folder = folder
        self.device = device
        self.dtype = dtype
        self.reproducible = reproducible
        self.batch_limit = batch_limit
        self.threads = threads
        self.slot_bytes = slot_bytes
        self.lost: Exception | None = None
        self._served: dict[str, ServedPolicy] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")

    async def open(self) -> None:
        """Load and warm up every policy.

        Raises:
            CheckpointError: the folder or a checkpoint in it cannot be used.
            ConfigError: the device is not there.
        """
        self._served = await self._in_thread(self._load)

    async def close(self) -> None:
        """Let the forward pass under way finish and end the thread."""
        await asyncio.to_thread(self._thread.shutdown)

    @property
    def served(self) -> list[ServedPolicy]:
        """All policies, by name."""
        return list(self._served.values())

    def allowed(self, limits: Limits) -> list[ServedPolicy]:
        """The policies that somebody of these limits may start, by name."""
        return [served for name, served in self._served.items() if limits.allow(name)]

    def find(self, policy: str | None, limits: Limits) -> ServedPolicy:
        """The policy a request means by "name", "name@revision" or nothing, among those it may start.

        Raises:
            UnknownPolicy: none is served under that name or revision, or none was named and several are served.
        """
        allowed = {served.name: served for served in self.allowed(limits)}
        names = ", ".join(sorted(allowed)) or "none"
        if policy is None:
            if len(allowed) != 1:
                raise UnknownPolicy(f"name one of the policies served here: {names}")
            return next(iter(allowed.values()))
        name, _, revision = policy.partition("@")
        served = allowed.get(name)
        if served is None:
            raise UnknownPolicy(f"policy {name!r} is not served here; these are: {names}")
        if revision and revision != served.revision:
            raise UnknownPolicy(f"policy {name!r} is served in revision {served.revision}, not {revision!r}")
        return served

    def holds(self, name: str, revision: str) -> ServedPolicy | None:
        """The policy an episode stays with, if this engine holds that very revision."""
        served = self._served.get(name)
        return served if served is not None and served.revision == revision else None

    async def infer(
        self, served: ServedPolicy, windows: Sequence[EpisodeWindow], names: Sequence[EpisodeName]
    ) -> NDArray[np.float32]:  # [len(windows), action_dim]
        """The action the policy proposes for each episode's window; a row may be not finite."""
        return await self._in_thread(lambda: self._propose(served, windows, names))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _propose(
        self, served: ServedPolicy, windows: Sequence[EpisodeWindow], names: Sequence[EpisodeName]
    ) -> NDArray[np.float32]:
        self._use_threads(served.policy)
        try:
            return served.policy.propose(windows, names)
        except torch.AcceleratorError as error:
            self.lost = error
            raise EngineUnavailable(
                "the accelerator failed; nothing was committed, send the same request again", retry_after_ms=1000
            ) from error

    def _use_threads(self, policy: Policy) -> None:
        """Set torch's threads, which holds for the calling thread: this engine's."""
        torch.set_num_threads(self.threads or default_threads(policy.parameters, os.cpu_count() or 1))

    def _load(self) -> dict[str, ServedPolicy]:
        self._settle_device()
        keep_freed_memory()
        loaded = {}
        for name, directory in checkpoint.find(self.folder).items():
            policy = Policy.load(
                directory,
                device=self.device,
                dtype=self.dtype,
                reproducible=self.reproducible,
                slot_bytes=self.slot_bytes,
            )
            self._use_threads(policy)
            policy.warm_up(self.batch_limit)
            loaded[name] = ServedPolicy(name, policy)
        return loaded

    def _settle_device(self) -> None:
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
            sentence = str(error).partition("\n")[0]
            raise ConfigError(f"device {self.device!r} cannot be used: {sentence}") from error


def default_threads(parameters: int, cores: int) -> int:
    """Threads of a forward pass where nobody says otherwise.

    torch's threads spin while they wait for each other, and the event loop needs a core: a small network is
    faster with one thread less. A large one is nearly all of the work, and takes every core
    (benchmarks/results/serve-2-cores.md).
    """
    return cores if parameters >= LARGE_PARAMETERS else max(1, cores - 1)
