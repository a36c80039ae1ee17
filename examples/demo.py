"""The whole way once, by the three command lines a user has: data, training, export, service, remote evaluation.

    python examples/demo.py [--short] [--out demo]

It leaves `demo/report.html`, and `demo/policies` for `lamo-serve --policies demo/policies`. The short form is
for a quick look and for CI: everything happens, with too little of it to learn much.
"""

from __future__ import annotations

import argparse
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
from dataclasses import dataclass
from pathlib import Path

COMMANDS = Path(sys.executable).parent
READY_SECONDS = 120


@dataclass(frozen=True)
class Scale:
    """How much of everything the demo does.

    Attributes:
        recorded: episodes of offline data.
        updates: optimizer steps, at ten times the paper's learning rate and without dropout: the schedule is a
            hundredth of the paper's, too short to overfit.
        evaluated: episodes per target return.
    """

    recorded: int
    updates: int
    evaluated: int


FULL = Scale(recorded=800, updates=1500, evaluated=50)
SHORT = Scale(recorded=60, updates=150, evaluated=8)


def main() -> None:
    """Do every step in order; the first that fails ends the demo with its own message."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="too little of everything, but everything")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to leave the results in")
    parser.add_argument(
        "--only-policy", type=Path, metavar="POLICIES", help="stop after the export, into this folder of policies"
    )
    options = parser.parse_args()
    scale = SHORT if options.short else FULL
    out: Path = options.out
    clear(out)
    started = time.monotonic()
    policies = options.only_policy or out / "policies"
    make_policy(scale, out, policies)
    if options.only_policy:
        return
    evaluate_policy(scale, out, policies)
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"\nDone in {minutes:.1f} minutes. Open {out / 'report.html'}, or serve the policy:\n")
    sys.stdout.write(f"    {COMMANDS / 'lamo-serve'} --policies {policies}\n")


def clear(out: Path) -> None:
    """Remove what an earlier demo left in its folder, and nothing from a folder that is not a demo's."""
    marker = out / ".demo"
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise SystemExit(f"{out} holds something other than an earlier demo; name another folder with --out")
    for made in ("data", "run", "evaluation"):
        shutil.rmtree(out / made, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()


def make_policy(scale: Scale, out: Path, policies: Path) -> None:
    """Data, training, export: leaves the checkpoint `reacher2d` in the policies folder."""
    dataset = out / "data" / "reacher2d.hdf5"
    heading("1. Offline data: Reacher2d, played by a scripted behavior policy of mixed quality")
    train_command(
        "data", "make", "--task", "reacher2d", "--episodes", scale.recorded, "--seed", 0, "--out", dataset
    )
    train_command("data", "inspect", dataset, "--task", "reacher2d")

    heading("2. Training: the seed language model's trunk frozen, LoRA on it, language loss beside the action loss")
    train_command(
        "train", "--task", "reacher2d", "--dataset", dataset, "--out", out / "run", "--updates", scale.updates,
        "--learning-rate", 1e-3, "--warm-up", scale.updates // 20, "--dropout", 0, "--lora-dropout", 0,
        "--language-loss-weight", 0.1, "--eval-every", scale.updates // 3, "--eval-episodes", scale.evaluated // 4,
    )  # fmt: skip

    heading("3. Export: LoRA merged, checked, written as a checkpoint")
    train_command("export", out / "run", "--out", policies / "reacher2d")


def evaluate_policy(scale: Scale, out: Path, policies: Path) -> None:
    """Service, evaluation against it, report: leaves `evaluation` and `report.html`."""
    heading("4. Service and evaluation over HTTP: every episode's window in Redis")
    with served(policies, out / "service") as url:
        command(
            "lamo-evaluate", "--url", url, "--policy", "reacher2d", "--episodes", scale.evaluated,
            "--parallel", 2 * scale.evaluated, "--seed", 1, "--traces", "--out", out / "evaluation",
        )  # fmt: skip

    heading("5. Report")
    train_command("report", out / "run", "--evaluation", out / "evaluation", "--out", out / "report.html")


def heading(text: str) -> None:
    """Say which step begins."""
    sys.stdout.write(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n")
    sys.stdout.flush()


def train_command(*arguments: object) -> None:
    """Run `lamo-train` with these arguments."""
    command("lamo-train", *arguments)


def command(name: str, *arguments: object) -> None:
    """Run one of the project's commands, showing it as a user would type it."""
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
        wait_until_ready(service, url)
        yield url
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=60)


def wait_until_ready(service: subprocess.Popen[bytes], url: str) -> None:
    """Wait until the service says it is ready; end the demo if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise SystemExit(f"the service ended with status {service.returncode} before it was ready")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            return
        time.sleep(0.2)
    raise SystemExit(f"the service at {url} was not ready within {READY_SECONDS} s")


if __name__ == "__main__":
    main()
