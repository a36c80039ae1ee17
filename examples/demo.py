"""The whole way once, by the three command lines a user has: data, training, export, service, remote evaluation.

    python -m examples.demo [--short] [--out demo]

It leaves `demo/report.html`, and `demo/policies` for `lamo-serve --policies demo/policies`. The short form is
for a quick look and for CI: everything happens, with too little of it to learn much.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from examples.command_lines import COMMANDS, claim, command, heading, served


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
    claim(out, "demo", ("data", "run", "evaluation"))
    started = time.monotonic()
    policies = options.only_policy or out / "policies"
    make_policy(scale, out, policies)
    if options.only_policy:
        return
    evaluate_policy(scale, out, policies)
    minutes = (time.monotonic() - started) / 60
    sys.stdout.write(f"\nDone in {minutes:.1f} minutes. Open {out / 'report.html'}, or serve the policy:\n")
    sys.stdout.write(f"    {COMMANDS / 'lamo-serve'} --policies {policies}\n")


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
        "--language-loss-weight", 0.1, "--label", "LaMo",
        "--eval-every", scale.updates // 3, "--eval-episodes", scale.evaluated // 4,
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


def train_command(*arguments: object) -> None:
    """Run `lamo-train` with these arguments."""
    command("lamo-train", *arguments)


if __name__ == "__main__":
    main()
