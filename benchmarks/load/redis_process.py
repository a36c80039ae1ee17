"""RedisProcess: the Redis of a measured service: the service's private one, or one of its own over TCP."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.store.embedded import EmbeddedRedis, redis_executable

READY_SECONDS, STOP_SECONDS = 30.0, 30.0


@dataclass(frozen=True)
class RedisProcess:
    """A Redis that answers at `url`, and the id of its process."""

    url: str
    pid: int


def embedded(data: Path) -> RedisProcess:
    """The private Redis of the service that uses this data directory."""
    return RedisProcess(EmbeddedRedis(data).url, int((data / "redis.pid").read_text()))


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisProcess]:
    """A redis-server on a free TCP port of this machine, as durable as the private one; stopped at the end."""
    port = free_port()
    process = subprocess.Popen(
        [
            redis_executable(), "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
        ],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"redis://127.0.0.1:{port}/0"
        _wait_until_ready(url)
        yield RedisProcess(url, process.pid)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(url: str) -> None:
    until = time.monotonic() + READY_SECONDS
    with Redis.from_url(url) as redis:
        while time.monotonic() < until:
            with contextlib.suppress(RedisConnectionError):
                redis.ping()
                return
            time.sleep(0.02)
    raise SystemExit(f"the Redis at {url} was not ready within {READY_SECONDS:.0f} s")
