"""lamo-serve: starts the service from the command line and ends with a code that says how it went."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from lamo.errors import ConfigError, LamoError
from service.settings import Settings, environment_name


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
        _serve(settings)
    except LamoError as error:
        print(f"lamo-serve: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(settings: Settings) -> None:
    """The processes this takes; only those that run policies load torch."""
    if settings.several_processes:
        from service.processes.supervisor import supervise  # noqa: PLC0415

        supervise(settings)
    else:
        from service.processes.alone import serve_alone  # noqa: PLC0415

        serve_alone(settings)


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
