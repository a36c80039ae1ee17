"""PeerProcess: one of the compared servers as a real process with its children, their CPU time and their memory."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from load.peer_wire import BENTO_WIRE, LAMO_WIRE, PLAIN_WIRE, Wire
from load.service_process import serving

HERE = Path(__file__).parents[1]
PYTHONPATH = os.pathsep.join([str(HERE.parent), str(HERE / "peers")])

READY_SECONDS, STOP_SECONDS = 300.0, 30.0

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "True"}
"""No usage reports to the makers."""

MARK = "LAMO_PEER_RUN"
"""Every process of a server inherits this variable, so that its daemons are found too."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A server to compare.

    Attributes:
        title: of its rows.
        wire: how it is asked.
        command: starts a peer, after the Python interpreter, the port following; empty for lamo-serve.
        options: of lamo-serve.
    """

    title: str
    wire: Wire
    command: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


PEERS = {
    "fastapi": Server("plain FastAPI loop", PLAIN_WIRE, (str(HERE / "peers" / "fastapi_loop.py"),)),
    "litserve": Server("LitServe", PLAIN_WIRE, (str(HERE / "peers" / "litserve_server.py"),)),
    "ray": Server("Ray Serve", PLAIN_WIRE, (str(HERE / "peers" / "ray_server.py"),)),
    "bentoml": Server(
        "BentoML",
        BENTO_WIRE,
        (
            "-m",
            "bentoml",
            "serve",
            "bentoml_server:PolicyServer",
            "--working-dir",
            str(HERE / "peers"),
            "--host",
            "127.0.0.1",
        ),
    ),
}


def ours(options: str) -> Server:
    """lamo-serve with options of its command line, which name its row."""
    return Server(f"lamo-serve {options}".strip(), LAMO_WIRE, options=tuple(shlex.split(options)))


@dataclass(frozen=True)
class PeerProcess:
    """A server that answers.

    Attributes:
        port: where it listens on this machine.
        mark: what its processes carry in their environment, and the folder of lamo-serve's Redis.
    """

    port: int
    mark: str

    def cpu_seconds(self) -> float:
        """User and system time used up to now by all its processes."""
        return sum(_cpu_seconds(process) for process in _marked(self.mark))

    def others_seconds(self) -> float:
        """CPU time used up to now by what is neither this server nor the callers: it disturbs the measurement."""
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        idle = int(fields[3]) + int(fields[4])
        return (sum(map(int, fields[:8])) - idle) / TICKS - self.cpu_seconds() - time.process_time()

    def memory_mb(self) -> float:
        """Proportional set size of all its processes: memory that they share counts once."""
        return sum(_memory_kb(process) for process in _marked(self.mark)) / 1024


@contextlib.contextmanager
def running(server: Server, policies: Path, name: str, threads: int) -> Iterator[PeerProcess]:
    """A server for one policy of a folder, ready; with all its processes ended at the end."""
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as folder, _marking(folder):
        try:
            if server.command:
                with _serving_peer(server, policies / name, threads, folder) as port:
                    yield PeerProcess(port, folder)
            else:
                options = ("--threads", str(threads), *server.options)
                with serving(policies, Path(folder), *options) as service:
                    yield PeerProcess(int(service.url.rpartition(":")[2]), folder)
        finally:
            _end_marked(folder)


@contextlib.contextmanager
def _marking(mark: str) -> Iterator[None]:
    os.environ[MARK] = mark
    try:
        yield
    finally:
        del os.environ[MARK]


@contextlib.contextmanager
def _serving_peer(server: Server, policy: Path, threads: int, folder: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *server.command, "--port", str(port)],
        env=os.environ | QUIET | {
            "PYTHONPATH": PYTHONPATH, "PEER_POLICY": str(policy), "OMP_NUM_THREADS": str(threads),
            "TMPDIR": folder, "BENTOML_HOME": folder,
        },
        stdout=sys.stderr,
    )  # fmt: skip
    try:
        _wait_until_listening(process, port, server.title)
        yield port
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):  # what is left then is ended with its children
            process.wait(STOP_SECONDS)


def _wait_until_listening(process: subprocess.Popen[bytes], port: int, title: str) -> None:
    """Until LitServe says that its worker is ready; the others answer only when they are, here in any way."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"{title} ended with status {process.returncode} before it was ready")
        with contextlib.suppress(urllib.error.URLError, OSError):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        time.sleep(0.5)
    raise SystemExit(f"{title} was not ready within {READY_SECONDS:.0f} s")


def _marked(mark: str) -> list[Path]:
    """The /proc folders of all processes with this mark, but for this one, which sets it."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(process)
    redis = Path(mark, "redis.pid")  # it overwrites its environment with its title
    found += [Path("/proc", redis.read_text().strip())] if redis.exists() else []
    return [process for process in found if int(process.name) != os.getpid()]


def _cpu_seconds(process: Path) -> float:
    with contextlib.suppress(OSError):
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0


def _memory_kb(process: Path) -> int:
    with contextlib.suppress(OSError):
        lines = (process / "smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0


def _end_marked(mark: str) -> None:
    """End what is left of a server, each process by its own id, and wait until they are gone."""
    while left := _marked(mark):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
        time.sleep(0.1)
