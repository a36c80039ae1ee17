"""ServiceProcess: the real `lamo-serve` on a free port of this machine, with a private Redis or a given one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from load.redis_process import RedisProcess, embedded, free_port
from numpy.typing import NDArray
from redis import Redis

from service.callers import LOCAL_OWNER, EpisodeName
from service.store.episodes import keys

ROOT = Path(__file__).parents[2]

READY_SECONDS = 300.0
"""Warming GPT-2 small up on a busy machine takes a while."""

STOP_SECONDS = 60.0


@dataclass(frozen=True)
class ServiceProcess:
    """A service that answers.

    Attributes:
        url: where it listens.
        redis: where it keeps its episodes.
        pid: of the process that was started; others may be below it.
    """

    url: str
    redis: RedisProcess
    pid: int

    def processes(self) -> list[int]:
        """The ids of all its processes, without its Redis."""
        return [pid for pid in (self.pid, *_below(self.pid)) if pid != self.redis.pid]

    def cpu_seconds(self) -> NDArray[np.float64]:  # [3]
        """CPU time used up to now by the service, by its Redis and by this process, which asks."""
        service = sum(map(cpu_seconds_of, self.processes()))
        return np.array([service, cpu_seconds_of(self.redis.pid), time.process_time()])

    def memory_bytes(self, episode_id: str) -> tuple[int, int]:
        """What Redis says that the two keys of an episode, meta and ring, take."""
        with Redis.from_url(self.redis.url) as redis:
            names = keys(EpisodeName(LOCAL_OWNER, episode_id))
            meta, ring = (int(redis.memory_usage(key, samples=0) or 0) for key in names)
        return meta, ring


@contextlib.contextmanager
def serving(
    policies: Path, data: Path, *options: str, redis: RedisProcess | None = None
) -> Iterator[ServiceProcess]:
    """The service for these policies, ready; told to stop at the end, and with it its Redis if that is its own."""
    port = str(free_port())
    if redis is not None:
        options = ("--redis-url", redis.url, *options)
    process = subprocess.Popen(
        [
            sys.executable, "-m", "service.cli", "--policies", str(policies), "--port", port,
            "--data-dir", str(data), "--log-level", "warning", *options,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url)
        yield ServiceProcess(url, redis or embedded(data), process.pid)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the service ended with status {process.returncode} before it was ready")
        with contextlib.suppress(OSError):  # nobody listens yet, or is not ready, or does not answer
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            return
        time.sleep(0.2)
    raise SystemExit(f"the service at {url} was not ready within {READY_SECONDS:.0f} s")


def cpu_seconds_of(pid: int, *, first_thread: bool = False) -> float:
    """User and system time of a process, or of its first thread alone; NaN where there is no /proc."""
    status = Path(f"/proc/{pid}/task/{pid}/stat" if first_thread else f"/proc/{pid}/stat")
    if not status.exists():
        return float("nan")
    fields = status.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _below(pid: int) -> list[int]:
    """Every process that a process started, or that these started; none where there is no /proc."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    children = [int(word) for word in listed.read_text().split()] if listed.exists() else []
    return children + [below for child in children for below in _below(child)]
