"""Does a standing window cost score? One policy per task, played at several hops on the same episodes.

    python benchmarks/hop_score.py --dataset hopper-medium=FILE --dataset halfcheetah-medium=FILE --out PAGE.md

Each task trains a Decision Transformer and plays it with `training`'s own evaluation; every hop meets the same
episode seeds and the same target return. The runs and their scores stay in `--runs`: the same command goes on where
it was stopped, trains nothing twice and plays no episode twice.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pages.hop_differences import HopDifferences
from pages.hop_page import drawing, page
from pages.page import describe_machine

from lamo.errors import ConfigError, InputError
from lamo.evaluation import Score, plans, read_scores, scores_of, write_scores
from lamo.policy import Policy
from training.interruption import Interrupted
from training.learning.config import TrainConfig
from training.runs.evaluate import evaluate
from training.runs.origin import read_origin
from training.runs.run_folder import RunFolder
from training.runs.train import train

TARGET_RETURNS = {"hopper-medium": 3600.0, "halfcheetah-medium": 6000.0}
"""Each is one of the task's own: Hopper's first; HalfCheetah's first, 12000, is twice the best of its data."""

UPDATES = {"hopper-medium": 3000, "halfcheetah-medium": 2000}
"""HalfCheetah's take less: its episodes take most of the time."""

EVALUATION_SEED = 0
"""Of the episodes, the same for every policy."""


@dataclass(frozen=True)
class Bench:
    """What every run of this benchmark shares.

    Attributes:
        runs: folder of the run folders, one per task and training seed.
        datasets: by task; other tasks read the data they name.
        updates: of each training run; None for those of its task.
        episodes: of each hop and policy.
    """

    runs: Path
    datasets: dict[str, str]
    updates: int | None
    learning_rate: float
    episodes: int
    hops: Sequence[int]
    threads: int | None

    def config(self, task: str, seed: int) -> TrainConfig:
        """A small Decision Transformer on all of the task's data; nothing is chosen by its scores."""
        data = {"dataset": self.datasets[task]} if task in self.datasets else {}
        return TrainConfig.of(
            task,
            algorithm="dt",
            updates=UPDATES[task] if self.updates is None else self.updates,
            learning_rate=self.learning_rate,
            warm_up=200,
            hold_out=0.0,
            seed=seed,
            eval_episodes=0,
            save_every=250,
            threads=self.threads,
            **data,
        )

    def scores(self, task: str, seed: int) -> list[Score]:
        """Every episode of one policy, trained and played now as far as it was not before."""
        folder = trained(self.config(task, seed), RunFolder(self.runs / f"{task}-{seed}"))
        policy = Policy.load(folder.checkpoint)
        for hop in self.hops:
            self._play(policy, folder, TARGET_RETURNS[task], hop)
        return list(self._wanted(policy, folder, TARGET_RETURNS[task]))

    def _play(self, policy: Policy, folder: RunFolder, target_return: float, hop: int) -> None:
        """Play the episodes of a hop that are not on record."""
        played = {score.episode_seed for score in self._wanted(policy, folder, target_return) if score.hop == hop}
        episodes = plans([target_return], self.episodes, EVALUATION_SEED)
        missing = [plan for plan in episodes if plan.seed not in played]
        if not missing:
            return
        say(f"{folder.name}: {len(missing)} episodes at hop {hop}")
        results = evaluate(policy, missing, hop=hop, parallel=len(missing))
        scores = scores_of(
            results,
            task=policy.config.task,
            policy=folder.name,
            revision=policy.revision,
            hop=hop,
            reference=policy.config.reference_returns,
            origin=read_origin(folder.checkpoint),
        )
        write_scores(_recorded(folder), scores, append=True)

    def _wanted(self, policy: Policy, folder: RunFolder, target_return: float) -> Iterator[Score]:
        """What is on record of this very policy, in the order of the asked hops."""
        path = _recorded(folder)
        recorded = read_scores(path) if path.exists() else []
        seeds = {plan.seed for plan in plans([target_return], self.episodes, EVALUATION_SEED)}
        for hop in self.hops:
            for score in recorded:
                asked = score.hop == hop and score.target_return == target_return and score.episode_seed in seeds
                if asked and score.revision == policy.revision:
                    yield score


def _recorded(folder: RunFolder) -> Path:
    """The run's own `scores.csv` is for evaluations during training."""
    return folder.path / "hops" / "scores.csv"


def trained(config: TrainConfig, folder: RunFolder) -> RunFolder:
    """The folder with its run at the end, trained now as far as it was not before.

    Raises:
        ConfigError: the folder holds another run.
    """
    begun = (folder.path / "config.json").exists()
    if begun and dataclasses.replace(folder.config(), updates=config.updates, threads=config.threads) != config:
        raise ConfigError(f"{folder.path} holds a run of other settings; name another folder with --runs")
    if read_origin(folder.checkpoint).update != config.updates:
        say(f"{folder.name}: training")
        train(config, folder, resume=begun, progress=True)
    return folder


def main() -> None:
    """Train, play, and write the page with its plot."""
    options = parse_options()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    bench = Bench(
        runs=options.runs,
        datasets=dict(options.dataset),
        updates=options.updates,
        learning_rate=options.learning_rate,
        episodes=options.episodes,
        hops=tuple(sorted({1, *options.hops})),
        threads=options.threads,
    )
    machine = describe_machine(options.threads)
    played = {(task, seed): bench.scores(task, seed) for seed in options.seeds for task in options.tasks}
    tasks = [HopDifferences.of([played[task, seed] for seed in options.seeds]) for task in options.tasks]
    text = page(tasks, [bench.config(task, options.seeds[0]) for task in options.tasks], machine, options.out)
    print(text, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")
        drawing(tasks).savefig(options.out.with_suffix(".png"), dpi=150)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add(
        "--tasks",
        nargs="+",
        choices=TARGET_RETURNS,
        default=list(TARGET_RETURNS),
        help="what is trained and played",
    )
    add("--dataset", type=named, action="append", default=[], metavar="TASK=DATA", help="instead of the task's own")
    add("--runs", type=Path, default=Path("runs/hop-score"), help="folder of the runs, kept to go on with")
    add("--seeds", type=int, nargs="+", default=[0], help="of training: a policy each")
    shown = ", ".join(f"{task} {updates}" for task, updates in UPDATES.items())
    add("--updates", type=int, help=f"of each training run; more go on with a shorter run (default: {shown})")
    add("--learning-rate", type=float, default=5e-4, help="high enough for so few updates")
    add("--episodes", type=int, default=100, help="of each policy and hop")
    add("--hops", type=int, nargs="+", default=[5, 10, 15, 20], help="compared with hop 1")
    add("--threads", type=int, help="CPU threads of torch")
    add("--out", type=Path, help="also write the page here, and its plot beside it as .png")
    return parser.parse_args()


def named(word: str) -> tuple[str, str]:
    """TASK=DATA."""
    task, equals, data = word.partition("=")
    if task not in TARGET_RETURNS or not equals or not data:
        raise argparse.ArgumentTypeError(f"{word!r} is not TASK=DATA with a task of {', '.join(TARGET_RETURNS)}")
    return task, data


def say(text: str) -> None:
    """Progress; the page alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
    except Interrupted:
        sys.exit("interrupted and saved; the same command goes on")
