"""Command lines of this project as a user types them: shown, run, and a service kept running beside them."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

COMMANDS = Path(sys.executable).parent
READY_SECONDS = 120


def heading(text: str) -> None:
    """Say which step begins."""
    sys.stdout.write(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n")
    sys.stdout.flush()


def command(name: str, *arguments: object) -> None:
    """Run one of the project's commands, or `python`, showing it; the first that fails ends the whole script."""
    words = [name, *map(str, arguments)]
    sys.stdout.write(f"$ {shlex.join(words)}\n")
    sys.stdout.flush()
    status = subprocess.run([str(COMMANDS / name), *words[1:]], check=False).returncode
    if status:
        raise SystemExit(status)


@contextlib.contextmanager
def served(policies: Path, redis: Path) -> Iterator[str]:
    """The service on a free port, with a private Redis of its own in the folder `redis`; stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["lamo-serve", "--policies", str(policies), "--port", str(port)]
    sys.stdout.write(f"$ {shlex.join(words)} &\n")
    sys.stdout.flush()
    environment = {**os.environ, "LAMO_DATA_DIR": str(redis)}
    service = subprocess.Popen([str(COMMANDS / words[0]), *words[1:]], env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(service, url)
        yield url
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=60)


def _wait_until_ready(service: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the service says it is ready; end the script if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise SystemExit(f"the service ended with status {service.returncode} before it was ready")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            return
        time.sleep(0.2)
    raise SystemExit(f"the service at {url} was not ready within {READY_SECONDS} s")


def claim(out: Path, kind: str, made: tuple[str, ...]) -> None:
    """Take the folder `out` for the results: what an earlier run of this `kind` made there goes, nothing else does.

    Args:
        made: names of what is removed.
    """
    marker = out / f".{kind}"
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise SystemExit(f"{out} holds something other than an earlier {kind}; name another folder with --out")
    for path in (out / name for name in made):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
