"""From a machine's log to a served policy that drives it, by the command lines of README.md beside this file.

    python -m examples.own_task.run [--short] [--out crane]

The short form is for CI: everything happens, with too little training to drive well.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from examples.command_lines import claim, command, heading, served
from examples.own_task.crane import STRONGEST

MADE = ("log.csv", "crane.toml", "run", "policies")


@dataclass(frozen=True)
class Scale:
    """How much of everything is done.

    Attributes:
        recorded: lifts in the log.
        updates: optimizer steps.
        driven: lifts by the policy, for each target return.
    """

    recorded: int
    updates: int
    driven: int


FULL = Scale(recorded=60, updates=600, driven=10)
SHORT = Scale(recorded=20, updates=60, driven=2)


def main() -> None:
    """Do every step in order; the first that fails ends it all with its own message."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="too little of everything, but everything")
    parser.add_argument("--out", type=Path, default=Path("crane"), help="folder to leave the results in")
    options = parser.parse_args()
    scale = SHORT if options.short else FULL
    out: Path = options.out
    claim(out, "own-task", MADE)
    log, task = out / "log.csv", out / "crane.toml"

    heading("1. A log of the machine at work")
    command("python", "-m", "examples.own_task.record", log, "--episodes", scale.recorded)

    heading("2. What the log holds, and the task it proposes")
    command("lamo-train", "data", "inspect", log, "--step-seconds", 0.2, "--write-task", task)
    edit(task)

    heading("3. Training without a simulator: how far the actions are from the operator's on lifts held out")
    command(
        "lamo-train", "train", "--task", task, "--out", out / "run", "--updates", scale.updates,
        "--learning-rate", 1e-3, "--warm-up", scale.updates // 20, "--dropout", 0, "--lora-dropout", 0,
    )  # fmt: skip
    command("lamo-train", "export", out / "run", "--out", out / "policies" / "crane")

    heading("4. The policy at the controls, over HTTP")
    with served(out / "policies", out / "service") as url:
        command(
            "python", "-m", "examples.own_task.drive",
            "--url", url, "--policy", "crane", "--log", log, "--episodes", scale.driven,
        )  # fmt: skip


def edit(task: Path) -> None:
    """What somebody who knows the machine changes in the proposal."""
    document = tomlkit.parse(task.read_text(encoding="utf-8"))
    document["action_low"], document["action_high"] = [-STRONGEST], [STRONGEST]
    document["context_length"] = 5
    task.write_text(tomlkit.dumps(document), encoding="utf-8")
    sys.stdout.write(f"\n{task}, after an edit of action_low, action_high and context_length:\n")
    sys.stdout.write(tomlkit.dumps(document))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
