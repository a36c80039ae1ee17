"""Train: the loop; also `lamo-train train`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from lamo.errors import ConfigError
from lamo.evaluation import Score, plans, scores_of, summarize, table
from lamo.policy import SLOT_BYTES, Policy
from training.interruption import Interrupted, Interruption
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment
from training.learning.language_model import silence_loading
from training.learning.learner import learning_rate_at
from training.learning.lora import merge
from training.learning.meter import Meter, Reading
from training.runs.evaluate import count, evaluate
from training.runs.export import export, scores_at
from training.runs.journal import FLUSH_EVERY, Journal
from training.runs.options import config_from, resumed_config
from training.runs.run_folder import RunFolder
from training.runs.snapshot import Snapshot
from training.watching.action_error import read_action_error, text_table
from training.watching.evaluations import evaluations, read_scores
from training.watching.watcher import Watcher


class Training:
    """One run from an update on: updates, evaluations, snapshots.

    Args:
        journal: that of the process which leads; the others write nothing.
        watcher: made before a snapshot was restored, so that it knows where the trunk began.
        start: updates already made.
        progress: show a bar.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        journal: Journal | None,
        interruption: Interruption,
        watcher: Watcher,
        *,
        start: int = 0,
        progress: bool = False,
    ) -> None:
        self.experiment = experiment
        self.config = experiment.config
        self.folder = folder
        self.journal = journal
        self.interruption = interruption
        self.watcher = watcher
        self.update = start
        self.progress = progress
        self.processes = experiment.processes
        self.meter = Meter(experiment.processes.device)

    def run(self) -> None:
        """Train to the end.

        Raises:
            Interrupted: a signal came; everything is saved.
        """
        try:
            self._loop()
        except Interrupted:
            self.processes.lead(self._save)
            raise

    def _loop(self) -> None:
        config = self.config
        with tqdm(
            total=config.updates, initial=self.update, desc="training", unit="update", disable=not self.progress
        ) as bar:
            self._after_update()
            while self.update < config.updates:
                if self.processes.any(self.interruption.requested, self.update):
                    raise Interrupted
                self._one_update()
                bar.update()
                self._after_update()

    def _one_update(self) -> None:
        experiment = self.experiment
        learning_rate = learning_rate_at(self.config, self.update + 1)
        losses = experiment.learner.update(experiment.draw_batch(), experiment.draw_token_ids(), learning_rate)
        self.update += 1
        self.meter.count()
        if self.journal is not None:
            self.journal.record(self.update, losses, learning_rate)

    def _after_update(self) -> None:
        """Write, look and save where it is time; all processes know when, the first does it."""
        last = self.update == self.config.updates
        looks = last or self.update == 0 or self._due(self.config.eval_every)
        saves = last or self._due(self.config.save_every)
        if self._due(FLUSH_EVERY) or looks or saves:
            self.processes.lead(lambda: self._write(looks=looks, saves=saves))

    def _write(self, *, looks: bool, saves: bool) -> None:
        """A look that was cut off is made up for after a resume."""
        if self.journal is None:
            return
        self.journal.flush()  # which refuses a run that has diverged, before it is played
        reading = self.meter.read()
        self.journal.reading(self.update, reading)
        with self.meter.standing_still():
            if looks and not self.journal.watched(self.update):
                self._look(self.journal, reading)
            if saves:
                self._save()

    def _look(self, journal: Journal, reading: Reading) -> None:
        """Play the policy where that is wanted, and watch the run."""
        plays = self.config.eval_episodes > 0 and self.config.task.environment is not None
        if plays and self.update > 0 and not journal.evaluated(self.update):
            journal.evaluation(self.update, self._evaluate())
        so_far = evaluations(read_scores(self.folder.scores))
        journal.watch(self.watcher.look(self.update, reading, so_far))

    def _due(self, every: int) -> bool:
        return every > 0 and self.update > 0 and self.update % every == 0

    def _save(self) -> None:
        if self.journal is not None:
            self.journal.flush()
        self.folder.save(Snapshot.take(self.experiment, self.update), self.config.keep)

    def _evaluate(self) -> list[Score]:
        """Play the merged policy; chance is left where it was, so that evaluating changes nothing learned."""
        config, experiment = self.config, self.experiment
        task = config.task
        episodes = plans(task.target_returns, config.eval_episodes, evaluation_seed(config.seed, self.update))
        with torch.random.fork_rng():
            policy = Policy(
                experiment.policy_config,
                experiment.normalization,
                merge(experiment.model),
                device=str(self.processes.device),
                slot_bytes=SLOT_BYTES,
            )
            scores = []
            for hop in config.hops:
                with tqdm(
                    total=len(episodes), desc="evaluating", unit="episode", leave=False, disable=not self.progress
                ) as bar:
                    results = evaluate(
                        policy,
                        episodes,
                        hop=hop,
                        parallel=len(episodes),
                        on_step=lambda steps: self.interruption.check(),
                        on_episode=lambda result, bar=bar: count(bar),  # type: ignore[misc]
                    )
                scores += scores_of(
                    results,
                    task=task.name,
                    policy=self.folder.name,
                    revision="",
                    hop=hop,
                    reference=task.reference_returns,
                    origin=dataclasses.replace(experiment.origin, update=self.update),
                )
        return scores


def evaluation_seed(seed: int, update: int) -> int:
    """The seed of the evaluation at an update: other episodes every time, the same ones in every run."""
    return drawn_seed(seed, update)


def drawn_seed(*numbers: int) -> int:
    """A seed of its own for every such sequence of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def train(
    config: TrainConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    progress: bool = False,
    wandb_project: str | None = None,
) -> bool:
    """Train from the beginning, or from the newest snapshot in the folder, and export the policy.

    Torch's global generator, which dropout draws from, is seeded for the run and given back as it was.

    Returns:
        Whether this process is the one that wrote the run, as the only one always is.

    Raises:
        InputError: something given cannot be used, or what is resumed has changed.
        Interrupted: a signal came; the run can be resumed.
    """
    experiment = Experiment.prepare(config)
    if config.threads is not None:  # only now: meeting other processes sets a number of its own
        torch.set_num_threads(config.threads)
    processes, watcher = experiment.processes, Watcher(experiment)
    with torch.random.fork_rng(), Interruption() as interruption:
        start = _resumed(experiment, folder) if resume else _begun(experiment, folder)
        with Journal(folder, start, wandb_project) if processes.leads else nullcontext() as journal:
            shown = progress and processes.leads
            Training(experiment, folder, journal, interruption, watcher, start=start, progress=shown).run()
    processes.lead(lambda: export(experiment, folder))
    processes.leave()
    return processes.leads


def _begun(experiment: Experiment, folder: RunFolder) -> int:
    experiment.processes.lead(lambda: folder.begin(experiment))
    _seed_dropout(experiment, 0)
    return 0


def _resumed(experiment: Experiment, folder: RunFolder) -> int:
    experiment.processes.lead(lambda: folder.resume(experiment))
    if not folder.updates():  # it was killed before its first snapshot
        _seed_dropout(experiment, 0)
        return 0
    snapshot = folder.snapshot()
    snapshot.restore(experiment)
    if not experiment.processes.leads:
        _seed_dropout(experiment, snapshot.update)
    return snapshot.update


def _seed_dropout(experiment: Experiment, update: int) -> None:
    """Every process drops other units; snapshots hold the first one's generator alone."""
    seed, index = experiment.config.seed, experiment.processes.index
    torch.manual_seed(seed if index == 0 else drawn_seed(seed, update, index))


def run(arguments: argparse.Namespace) -> None:
    """Carry out the parsed command; an InputError it raises is one sentence for whoever typed it."""
    silence_loading()
    if arguments.resume is None:
        config = config_from(arguments)
        name = f"{config.task.name}-{config.arm}-{config.seed}".replace(" ", "-")
        folder = RunFolder(arguments.out or Path("runs") / name)
    else:
        if arguments.out is not None:
            raise ConfigError("--out and --resume each name the run's folder; give one of them")
        folder = RunFolder(arguments.resume)
        config = resumed_config(arguments, folder.config())
    try:
        resume, project = arguments.resume is not None, arguments.wandb
        leads = train(config, folder, resume=resume, progress=True, wandb_project=project)
    except Interrupted as interruption:
        raise Interrupted(
            f"interrupted and saved; go on with: lamo-train train --resume {folder.path}"
        ) from interruption
    if not leads:
        return
    if scores := scores_at(folder, config.updates):
        sys.stdout.write(table(summarize(scores)))
    elif error := read_action_error(folder.checkpoint):
        sys.stdout.write(text_table(error))
    sys.stdout.write(f"policy: {folder.checkpoint}\n")
