"""Experiment: everything a TrainConfig decides before the first update: data, network, and what draws batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamo.batch import Batch, Scaling, to_device
from lamo.config import PolicyConfig
from lamo.errors import LanguageModelError
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.trunk import PretrainedTrunk
from training import data
from training.config import TrainConfig
from training.corpus import CorpusIdentity, LanguageBatches, load_corpus
from training.environments import make_environment
from training.language_model import fingerprint, load_trunk, location
from training.learner import Learner
from training.lora import add_lora
from training.objective import WordEmbeddings
from training.processes import Processes
from training.sampling import Subtrajectories, SubtrajectorySampler
from training.spaces import check_data, policy_config
from training.tasks import get_task
from training.tokenizer import load_tokenizer
from training.trajectories import Trajectories

SUBTRAJECTORY_STREAM, LANGUAGE_STREAM = 1, 2
"""Every consumer of chance draws from a generator of its own, so that none disturbs another."""

LANGUAGE_BLOCKS = 2
LONGEST_BLOCK = 1024


@dataclass(frozen=True)
class Text:
    """The text of the language loss and what draws from it."""

    batches: LanguageBatches
    identity: CorpusIdentity


@dataclass(frozen=True)
class Experiment:
    """A run, ready for its first update.

    Attributes:
        processes: those that train this run together, this one among them.
        trajectories: those that are trained on; `indices` says which of the data set's they are.
        trunk_sha256: identity of the frozen weights.
        text: None where the language loss has no weight.
    """

    config: TrainConfig
    processes: Processes
    policy_config: PolicyConfig
    normalization: Normalization
    trajectories: Trajectories
    indices: NDArray[np.int64]
    trunk_sha256: str
    learner: Learner
    sampler: SubtrajectorySampler
    scaling: Scaling
    text: Text | None

    @property
    def model(self) -> LamoModel:
        """The network, with LoRA."""
        return self.learner.model

    @classmethod
    def prepare(cls, config: TrainConfig) -> Experiment:
        """Read the data and the language model, and build the network with seeded weights.

        Raises:
            InputError: the data, the language model, the text or the device cannot be used.
        """
        processes = Processes.join(config)
        device = processes.device
        with processes.leader_first():
            complete = data.read(config.dataset)
        indices = complete.draw_indices(config.sample_ratio, config.seed)
        trajectories = complete.subset(indices)
        pretrained = load_trunk(config.lm, random_init=config.random_init, dropout=config.dropout, seed=config.seed)
        policy = _policy_config(config, pretrained)
        check_data(trajectories, policy)
        normalization = Normalization.of(np.concatenate([item.observations for item in trajectories]))
        trunk_sha256 = fingerprint(pretrained)
        text = _text(config, pretrained)
        model = _model(config, policy, pretrained).to(device)
        words = None if text is None else _words(config, pretrained, device)
        return cls(
            config=config,
            processes=processes,
            policy_config=policy,
            normalization=normalization,
            trajectories=trajectories,
            indices=indices,
            trunk_sha256=trunk_sha256,
            learner=Learner(model, config, processes, words),
            sampler=SubtrajectorySampler(
                trajectories, policy.context_length, generator(config.seed, SUBTRAJECTORY_STREAM)
            ),
            scaling=Scaling(policy, normalization, device),
            text=text,
        )

    def batch(self, cuts: Subtrajectories) -> Batch:
        """The tensors of drawn subtrajectories."""
        return self.scaling.batch(
            cuts.returns_to_go,
            cuts.observations,
            cuts.actions,
            cuts.timesteps,
            cuts.attention_mask.sum(axis=1, dtype=np.int64),
        )

    def draw_batch(self) -> Batch:
        """The next training batch."""
        return self.batch(self.sampler.draw(self.config.batch_size))

    def draw_token_ids(self) -> Tensor | None:
        """The next text, [LANGUAGE_BLOCKS, tokens]; None where the language loss has no weight."""
        if self.text is None:
            return None
        return to_device(torch.from_numpy(self.text.batches.draw()), self.scaling.device)


def generator(seed: int, stream: int) -> np.random.Generator:
    """The generator of one consumer of chance."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


def _policy_config(config: TrainConfig, pretrained: PretrainedTrunk) -> PolicyConfig:
    task = get_task(config.task)
    environment = make_environment(task.environment)
    try:
        return policy_config(
            task, environment, pretrained.trunk.config, target_returns=config.targets, hop=config.hops[0]
        )
    finally:
        environment.close()


def _model(config: TrainConfig, policy: PolicyConfig, pretrained: PretrainedTrunk) -> LamoModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LamoModel(policy, pretrained.trunk)
        add_lora(model.trunk, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout)
    return model


def _text(config: TrainConfig, pretrained: PretrainedTrunk) -> Text | None:
    if config.language_loss_weight == 0:
        return None
    corpus = load_corpus(config.text, load_tokenizer(location(config.lm)))
    if (largest := int(corpus.token_ids.max(initial=0))) >= len(pretrained.wte):
        raise LanguageModelError(
            f"the tokenizer of {config.lm!r} gives token {largest}, its model has {len(pretrained.wte)}"
        )
    batches = LanguageBatches(
        corpus.token_ids,
        batch_size=LANGUAGE_BLOCKS,
        length=min(LONGEST_BLOCK, len(pretrained.wpe)),
        generator=generator(config.seed, LANGUAGE_STREAM),
    )
    return Text(batches, corpus.identity)


def _words(config: TrainConfig, pretrained: PretrainedTrunk, device: torch.device) -> WordEmbeddings:
    wpe = pretrained.wpe.to(device) if config.preset == "fixed" else None
    return WordEmbeddings(pretrained.wte.to(device), wpe)
