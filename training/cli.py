"""The command line `lamo-train`: data, pretraining, training, sweeps, evaluation, export and report."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from lamo.errors import InputError, LamoError
from training.exit_codes import FAILED, INPUT_ERROR, INTERRUPTED

COMMANDS = {
    "tasks": (
        "tasks.task_table",
        "tasks.task_table",
        "list the tasks, or where their presets differ",
    ),
    "data": ("data.commands", "data.commands", "make, fetch, convert and inspect offline data"),
    "pretrain": (
        "language.pretrain_config",
        "language.pretrain",
        "make a small language model from text",
    ),
    "train": ("runs.options", "runs.train", "train a policy and export it"),
    "sweep": ("sweeps.sweep_options", "sweeps.sweep", "train the many runs of an experiment"),
    "evaluate": ("runs.evaluate", "runs.evaluate", "play a policy in this process"),
    "export": ("runs.export", "runs.export", "write a run's policy as a checkpoint"),
    "report": (
        "reports.report_options",
        "reports.reporting",
        "compare runs on a page, or show one policy",
    ),
}
"""Each command with the modules that declare its options and carry it out; they are loaded when it is chosen."""


def main(words: Sequence[str] | None = None) -> None:
    """Run one command. Exit code 2: something given cannot be used; 130: interrupted by a signal."""
    sys.exit(_main(sys.argv[1:] if words is None else words))


def _main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="lamo-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (options, _, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        if name in words[:1]:
            importlib.import_module(f"training.{options}").add_arguments(command)
    arguments = parser.parse_args(words)
    try:
        importlib.import_module(f"training.{COMMANDS[arguments.command][1]}").run(arguments)
    except InputError as error:
        print(f"lamo-train {arguments.command}: {error}", file=sys.stderr)
        return INPUT_ERROR
    except LamoError as error:
        print(f"lamo-train {arguments.command}: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.filename is None:  # no file that somebody named
            raise
        print(f"lamo-train {arguments.command}: {error.filename}: {error.strerror}", file=sys.stderr)
        return INPUT_ERROR
    except KeyboardInterrupt as interruption:
        print(f"lamo-train {arguments.command}: {interruption or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    main()
