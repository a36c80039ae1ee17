"""What the seed language model is worth on Hopper: its trunk against a random one, all else equal.

    python benchmarks/pretraining.py --dataset hopper-medium.hdf5 --out runs/pretraining --seeds 0 1

Trains both arms with every seed, one after the other (finished runs are kept), and prints the table of
docs/results.md. The schedule is cut to a CPU's patience: 2000 updates of 32 subtrajectories instead of the paper's
100,000 of 64, at ten times its learning rate and without dropout.
"""

from __future__ import annotations

import argparse
import csv
import platform
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

COMMAND = str(Path(sys.executable).parent / "lamo-train")
ARMS = {"seed": (), "random": ("--random-init",)}
SCHEDULE = (
    "--updates", "2000", "--batch-size", "32", "--dropout", "0", "--lora-dropout", "0",
    "--learning-rate", "1e-3", "--warm-up", "100", "--eval-every", "0", "--eval-episodes", "10", "--threads", "1",
)  # fmt: skip


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", type=Path, required=True, help="Hopper data in D4RL's layout")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    for seed in options.seeds:
        for arm, arguments in ARMS.items():
            run = options.out / f"{arm}-{seed}"
            if not (run / "checkpoint").is_dir():
                words = ["train", "--task", "hopper", "--dataset", str(options.dataset), *arguments, *SCHEDULE]
                subprocess.run([COMMAND, *words, "--seed", str(seed), "--out", str(run)], check=True)
    print(table(options.out, options.seeds))


def table(runs: Path, seeds: list[int]) -> str:
    """One row per arm and seed: normalized score per target, best target, mean over targets, last action loss."""
    rows = [(arm, seed, scores(runs / f"{arm}-{seed}")) for arm in ARMS for seed in seeds]
    targets = sorted(rows[0][2], reverse=True)
    lines = [
        f"| trunk | seed | {' | '.join(f'target {target:g}' for target in targets)} | best | mean | action loss |",
        "|---" * (len(targets) + 5) + "|",
    ]
    for arm, seed, by_target in rows:
        means = [np.mean(by_target[target]) for target in targets]
        cells = [f"{np.mean(by_target[t]):.1f} ± {standard_error(by_target[t]):.1f}" for t in targets]
        loss = f"{last_loss(runs / f'{arm}-{seed}'):.4f}"
        lines.append(f"| {arm} | {seed} | {' | '.join(cells)} | {max(means):.1f} | {np.mean(means):.1f} | {loss} |")
    machine = f"{platform.machine()}, Python {platform.python_version()}, one thread"
    return "\n".join([*lines, "", f"Normalized score, mean ± standard error over 10 episodes; {machine}."])


def scores(run: Path) -> dict[float, list[float]]:
    """Normalized scores of a run's last evaluation, by target return."""
    by_target = defaultdict(list)
    with (run / "scores.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_target[float(row["target_return"])].append(float(row["normalized_score"]))
    return dict(by_target)


def last_loss(run: Path) -> float:
    """Action loss on training batches, mean over the last hundred updates."""
    with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
        losses = [float(row["action_loss"]) for row in csv.DictReader(file)]
    return float(np.mean(losses[-100:]))


def standard_error(values: list[float]) -> float:
    """Of the mean."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


if __name__ == "__main__":
    main()
