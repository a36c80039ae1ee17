"""Drives the crane by a served policy: the loop that runs on your machine, and what it earned against the operator.

python -m examples.own_task.drive --url http://127.0.0.1:8000 --policy crane --log crane/log.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clients import PolicyClient
from examples.own_task.crane import Crane


def lift(client: PolicyClient, policy: str, target_return: float, crane: Crane) -> float:
    """One lift with the policy at the controls; the return it earned."""
    episode = client.start(policy, target_return=target_return)
    answer = episode.act(crane.observe())
    while True:
        reading = crane.step(answer.action[0])
        if reading.terminated or reading.truncated:
            summary = episode.end(
                reward=reading.reward,
                executed_action=reading.executed_action,
                terminated=reading.terminated,
                truncated=reading.truncated,
            )
            return summary.episode_return
        answer = episode.act(reading.observation, reading.reward, reading.executed_action)


def operators_returns(log: Path) -> list[float]:
    """What each lift in the log earned."""
    returns: dict[str, float] = {}
    with log.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            returns[row["episode"]] = returns.get(row["episode"], 0.0) + float(row["reward"])
    return list(returns.values())


def line(who: str, returns: Sequence[float]) -> str:
    """One line of the table: mean, worst and best return."""
    return f"{who:<22}{len(returns):>6}{np.mean(returns):>8.1f}{min(returns):>8.1f}{max(returns):>8.1f}\n"


def main() -> None:
    """Parse the command line, drive, print the returns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the service listens")
    parser.add_argument("--policy", default="crane", help="the policy's name there")
    parser.add_argument("--log", type=Path, required=True, help="the operator's log, to compare with")
    parser.add_argument("--episodes", type=int, default=20, help="lifts for each target return")
    parser.add_argument("--seed", type=int, default=1, help="every target return meets the same cranes")
    options = parser.parse_args()
    sys.stdout.write(f"{'at the controls':<22}{'lifts':>6}{'mean':>8}{'worst':>8}{'best':>8}\n")
    sys.stdout.write(line("operator, in the log", operators_returns(options.log)))
    with PolicyClient(options.url) as client:
        for target in client.policy(options.policy).target_returns:
            cranes = map(Crane, map(np.random.default_rng, range(options.seed, options.seed + options.episodes)))
            returns = [lift(client, options.policy, target, crane) for crane in cranes]
            sys.stdout.write(line(f"policy, asked for {target:.3g}", returns))


if __name__ == "__main__":
    main()
