"""lamo-serve: starts the service from the command line and ends with a code that says how it went."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import uvicorn

from lamo import checkpoint
from lamo.errors import ConfigError, LamoError
from service.app import create_app
from service.lifecycle import Lifecycle
from service.logs import log_to_stderr
from service.settings import Settings, environment_name

KEEP_ALIVE_SECONDS = 75
"""A robot that acts every few seconds keeps its connection; uvicorn's own 5 would cut it between two steps."""


class Server(uvicorn.Server):
    """A uvicorn server that looks at its service: it leaves if that cannot open, and says so if it leaves."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """From now on not ready and no new episodes; requests under way are finished."""
        self._lifecycle.draining = True
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether to leave, asked ten times a second."""
        return await super().on_tick(counter) or self._lifecycle.failure is not None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence instead of the usage."""
        raise ConfigError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop.

    Returns:
        0 after a stop that was asked for; 2 if an option, the port, a checkpoint or the data directory cannot be
        used, with one sentence on standard error.
    """
    try:
        settings = Settings.read(vars(_parser().parse_args(arguments)))
        checkpoint.find(settings.policies)
        _serve(settings)
    except LamoError as error:
        print(f"lamo-serve: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(settings: Settings) -> None:
    log_to_stderr(settings.log_level)
    listener = _listen(settings.host, settings.port)
    app = create_app(settings, url=_url(listener))
    lifecycle: Lifecycle = app.state.lifecycle
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=round(settings.grace_seconds),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = Server(config, lifecycle)
    for asked in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal that stopped it once more at the end: that must not look like a crash.
        signal.signal(asked, server.handle_exit)
    server.run([listener])
    if lifecycle.failure is not None:
        raise lifecycle.failure


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _parser() -> argparse.ArgumentParser:
    """Every setting as an option. Defaults and checks are the settings' own, so only given options come out."""
    parser = _Parser(
        prog="lamo-serve",
        description="Serve a folder of policies over HTTP. Every option is also an environment variable.",
        argument_default=argparse.SUPPRESS,
    )
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        text = f"{field.description} ({default}; {environment_name(name)})".replace("%", "%%")
        option = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        else:
            parser.add_argument(option, metavar=name.rpartition("_")[2].upper(), help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
