"""Engine: the policies on their device, and the one thread that runs them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lamo.errors import CheckpointError, ConfigError, EngineUnavailable
from lamo.heap import keep_freed_memory
from lamo.policy import SLOT_BYTES, Policy
from lamo.window import EpisodeWindow
from service.callers import NO_LIMITS, EpisodeName, Limits
from service.owners import audit
from service.policies.policy_folder import OnDisk, PolicyFolder
from service.policies.revisions import Key, Revisions, ServedPolicy

Answer = TypeVar("Answer")

LARGE_PARAMETERS = 10_000_000
"""Between the demo's network of under one million, and GPT-2 small's of 85 million."""


class Engine:
    """Runs policies in a thread of its own, never on the event loop, and loads them in another one.

    Attributes:
        folder: the policies folder.
        revisions: what is loaded.
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
        self.folder = PolicyFolder(folder)
        self.revisions = Revisions()
        self.device = device
        self.dtype = dtype
        self.reproducible = reproducible
        self.batch_limit = batch_limit
        self.threads = threads
        self.slot_bytes = slot_bytes
        self.lost: Exception | None = None
        self._serving = False
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")

    async def open(self) -> None:
        """Load and warm up the current revision of every policy.

        Raises:
            CheckpointError: the folder or a checkpoint in it cannot be used.
            ConfigError: the device is not there.
        """
        await self._in_thread(self._settle_device)
        for found in (await asyncio.to_thread(self.folder.current)).values():
            if isinstance(found, CheckpointError):
                raise found
            self.revisions.make_current(await self.load(found))
        self._serving = True

    async def close(self) -> None:
        """Let the forward pass and the load under way finish and end both threads."""
        for thread in (self._loader, self._thread):
            await asyncio.to_thread(thread.shutdown, cancel_futures=True)

    @property
    def served(self) -> list[ServedPolicy]:
        """What new episodes get, by name."""
        return self.revisions.current

    def find(self, name: str | None, limits: Limits = NO_LIMITS) -> ServedPolicy:
        """What a new episode gets that asks for a policy by its name, or by none, among those it may start.

        Raises:
            UnknownPolicy: none is served under that name, or none was named and several are served.
        """
        return self.revisions.find(name, limits)

    async def load(self, found: OnDisk) -> ServedPolicy:
        """Load a revision and warm it up, while others are served.

        Raises:
            CheckpointError: the checkpoint cannot be used, is another one by now, or does not fit into memory.
        """
        async with self._one_at_a_time:  # a graph cannot be captured while another load allocates
            loaded = self.revisions.get((found.name, found.revision))
            if loaded is not None:
                return loaded
            try:
                with _short_turns():
                    policy = await self._in_thread(lambda: self._load(found), self._loader)
                    await self._warm_up(policy)
            except (RuntimeError, MemoryError, OSError) as error:  # where memory is short torch raises RuntimeError
                sentence = str(error).partition("\n")[0]
                raise CheckpointError(f"{found.directory} cannot be loaded: {sentence}") from error
            served = ServedPolicy(found.name, policy)
            self.revisions.add(served)
        audit.tell("revision loaded", policy=served.name, revision=served.revision, device=self.device)
        return served

    async def unload(self, key: Key) -> None:
        """Give a revision's memory back; nothing else may hold it any more."""
        last = [self.revisions.remove(key)]
        async with self._one_at_a_time:
            await self._in_thread(lambda: self._release(last))

    async def infer(
        self, served: ServedPolicy, windows: Sequence[EpisodeWindow], names: Sequence[EpisodeName]
    ) -> NDArray[np.float32]:  # [len(windows), action_dim]
        """The action the policy proposes for each episode's window; a row may be not finite."""
        self.revisions.use(served)
        return await self._in_thread(lambda: self._propose(served, windows, names))

    async def _in_thread(self, work: Callable[[], Answer], thread: ThreadPoolExecutor | None = None) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(thread or self._thread, work)

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

    def _load(self, found: OnDisk) -> Policy:
        if self._serving:
            torch.set_num_threads(1)  # of the calling thread: acts go on beside it
        policy = Policy.load(
            found.directory,
            device=self.device,
            dtype=self.dtype,
            reproducible=self.reproducible,
            slot_bytes=self.slot_bytes,
        )
        if policy.revision != found.revision:
            raise CheckpointError(f"{found.directory} was replaced while it was read")
        return policy

    async def _warm_up(self, policy: Policy) -> None:
        """On a CPU beside the engine's thread. A GPU's graphs are captured in it, between forward passes."""
        beside = self._serving and policy.device.type == "cpu"
        pieces = policy.warming_up(self.batch_limit)
        while await self._in_thread(
            lambda: self._warm_up_piece(policy, pieces, beside=beside), self._loader if beside else self._thread
        ):
            pass

    def _warm_up_piece(self, policy: Policy, pieces: Iterator[None], *, beside: bool) -> bool:
        """Whether there was one more."""
        if not beside:
            self._use_threads(policy)
        return next(pieces, self) is None

    def _release(self, last: list[ServedPolicy]) -> None:
        last.clear()
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _settle_device(self) -> None:
        keep_freed_memory()
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
            sentence = str(error).partition("\n")[0]
            raise ConfigError(f"device {self.device!r} cannot be used: {sentence}") from error


@contextmanager
def _short_turns() -> Iterator[None]:
    """Threads wait a tenth of the usual time for Python's lock, which an act takes several times, and a load."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 10)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def default_threads(parameters: int, cores: int) -> int:
    """Threads of a forward pass where nobody says otherwise.

    torch's threads spin while they wait for each other, and the event loop needs a core: a small network is
    faster with one thread less. A large one is nearly all of the work, and takes every core
    (benchmarks/results/serve-2-cores.md).
    """
    return cores if parameters >= LARGE_PARAMETERS else max(1, cores - 1)
