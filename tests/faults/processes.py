"""Processes: redis-server and lamo-serve as they run in production, to be killed, paused and started again."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from service.store.embedded import redis_executable

ROOT = Path(__file__).resolve().parents[2]

PATIENCE_SECONDS = 90.0
"""A process that imports torch beside five others on two cores takes its time."""


def wait_until(
    condition: Callable[[], object], what: str = "what was awaited", seconds: float = PATIENCE_SECONDS
) -> None:
    """Wait for a condition, which is named if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One redis-server with an append-only file, on a port of its own that it keeps through restarts."""

    def __init__(self, folder: Path, *, executable: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._executable = executable or redis_executable()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "redis-server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it has replayed its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "logfile": str(self.folder / "redis.log"),
            "appendonly": "yes",
            "appendfsync": "always",
            "auto-aof-rewrite-percentage": "0",  # the file is the tests' journal
            "aof-use-rdb-preamble": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        words = [part for name, value in options.items() for part in (f"--{name}", value)]
        # Python ignores SIGXFSZ, and so does its child here: what may not be written is an error, not a death.
        self._process = subprocess.Popen([self._executable, *words], restore_signals=False)
        wait_until(self._answers, "redis-server answers")

    def kill(self) -> None:
        """SIGKILL, and wait until it is dead."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def restart(self) -> None:
        """SIGKILL and start, as an init system would."""
        self.kill()
        self.start()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str) -> Any:
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            return client.execute_command(*words)

    def save_copy(self, where: Path) -> None:
        """What lies on the disk now."""
        shutil.copytree(self.folder, where, dirs_exist_ok=True)

    def lose_tail(self, copy: Path) -> int:
        """Put an earlier copy in the place of the file of a dead server; how many bytes are gone.

        A mere SIGKILL loses nothing that reached the kernel: this is what a power failure leaves.
        """
        before = self.bytes_written()
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)
        return before - self.bytes_written()

    def begin_file_anew(self) -> None:
        """Rewrite the append-only file to what is stored now."""
        self.command("BGREWRITEAOF")
        wait_until(self._rewritten, "the append-only file is rewritten")

    def bytes_written(self) -> int:
        return sum(path.stat().st_size for path in self.append_only_files())

    def append_only_files(self) -> list[Path]:
        """The file that is appended to: one of Redis 6.2, of Redis 7 in a folder of its own."""
        return sorted([*self.folder.glob("*.aof"), *self.folder.glob("appendonlydir/*.aof")])

    def limit_file_size(self, size: int | None) -> None:
        """No file of it may grow beyond this, as on a full disk; None gives the space back."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))

    def _rewritten(self) -> bool:
        told = self.command("INFO", "persistence")
        return not (told["aof_rewrite_in_progress"] or told["aof_rewrite_scheduled"])

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"redis-server ended: {(self.folder / 'redis.log').read_text()[-500:]}"
        with contextlib.suppress(redis.RedisError):
            return bool(self.command("PING"))
        return False


class Replica:
    """One `lamo-serve` in reproducible mode on a port that it keeps; its processes' events are in `log`.

    Args:
        options: more of `lamo-serve`'s.
        code: the checkout that is run.
    """

    def __init__(self, policies: Path, log: Path, *options: str, code: Path = ROOT) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._code = code
        self._words = [
            sys.executable, "-m", "service.cli", "--policies", str(policies), "--port", str(self.port),
            "--device", "cpu", "--reproducible", "--threads", "1", *options,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "the service was not started"
        return self._process.pid

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAMO_")}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._words,
                cwd=self._code,
                env=environment | {"PYTHONPATH": str(self._code), "OMP_NUM_THREADS": "1"},
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        wait_until(self.ready, f"the service at {self.url} is ready")

    def ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the service ended: {self._log.read_text()[-500:]}"
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{self.url}/readyz", timeout=5).close()
            return True
        return False

    def kill(self) -> None:
        """SIGKILL of the first process; engines and workers end with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """SIGTERM, and wait until it has drained and ended well."""
        assert self._process is not None
        self._process.terminate()
        code = self._process.wait(60)
        assert code == 0, f"the service ended with {code}: {self._log.read_text()[-500:]}"

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.leave()

    def child(self, role: str) -> int:
        """The pid of the process that was started last in a role: "engine 0 on cpu", "HTTP worker 1"."""
        started = [event["pid"] for event in self.events("process started") if event["role"] == role]
        return int(started[-1])

    def events(self, name: str) -> list[dict[str, Any]]:
        """What it logged under a name, of all its lives; a line that is being written is left for later."""
        lines = self._log.read_text().splitlines(keepends=True)
        events = [json.loads(line) for line in lines if f'"{name}"' in line and line.endswith("}\n")]
        return [event for event in events if event["event"] == name]

    def tracebacks(self) -> int:
        return self._log.read_text().count("Traceback")

    def processes(self) -> list[int]:
        """All its living processes."""
        return [self.pid, *below(self.pid)]


def below(pid: int) -> list[int]:
    """Every process below one."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return children + [deeper for child in children for deeper in below(child)]
    return []


def lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
