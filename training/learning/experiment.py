"""Experiment: everything a TrainConfig decides before the first update: data, network, and what draws batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamo.batch import Batch, Scaling, to_device
from lamo.config import PolicyConfig
from lamo.errors import ConfigError, InputError, LanguageModelError
from lamo.evaluation import Origin
from lamo.model import LamoModel
from lamo.network import Network, build
from lamo.normalization import Normalization
from lamo.trunk import PretrainedTrunk
from training.data.sampling import Subtrajectories, SubtrajectorySampler
from training.language.corpus import Corpus, CorpusIdentity, LanguageBatches, load_corpus
from training.language.tokenizer import load_tokenizer
from training.learning.adaptation import adapt
from training.learning.algorithms import NO_LM
from training.learning.config import TrainConfig
from training.learning.language_ability import LanguageAbility
from training.learning.language_model import fingerprint, load_trunk, location
from training.learning.learner import Learner
from training.learning.objective import WordEmbeddings
from training.learning.offline_data import OfflineData
from training.learning.processes import Processes
from training.learning.spaces import policy_config
from training.version import code_version

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
        data: the trajectories that are trained on, and those held out.
        trunk_sha256: identity of the weights the trunk began with; empty where there is no trunk.
        text: None where the language loss has no weight.
        language_ability: None where the trunk has none to lose, or there is no text to see it by.
    """

    config: TrainConfig
    processes: Processes
    policy_config: PolicyConfig
    normalization: Normalization
    data: OfflineData
    trunk_sha256: str
    learner: Learner
    sampler: SubtrajectorySampler
    scaling: Scaling
    text: Text | None
    language_ability: LanguageAbility | None

    @property
    def model(self) -> Network:
        """The network as it trains."""
        return self.learner.model

    @property
    def origin(self) -> Origin:
        """What scores of this run's policies say about where they come from."""
        config, trajectories = self.config, self.data.trained
        return Origin(
            dataset=trajectories.name,
            dataset_hash=trajectories.sha256,
            sample_ratio=self.data.sample_ratio,
            algorithm=config.arm,
            preset=config.preset,
            seed=config.seed,
            code_version=code_version(),
        )

    @classmethod
    def prepare(cls, config: TrainConfig) -> Experiment:
        """Read the data and the language model, and build the network with seeded weights.

        Raises:
            InputError: the data, the language model, the text or the device cannot be used.
        """
        processes = Processes.join(config)
        device = processes.device
        with processes.leader_first():
            data = OfflineData.read(config)
        pretrained = None if config.algorithm == "bc" else load_trunk(
            config.lm, random_init=config.random_init, dropout=config.dropout, seed=config.seed
        )  # fmt: skip
        policy = policy_config(config, data.trained, None if pretrained is None else pretrained.trunk.config)
        normalization = Normalization.of(np.concatenate([item.observations for item in data.trained]))
        corpus = None if pretrained is None else _corpus(config, pretrained)
        text = None if pretrained is None or corpus is None else _text(config, corpus, pretrained)
        words = None if text is None or pretrained is None else _words(config, pretrained, device)
        trunk_sha256 = "" if pretrained is None else fingerprint(pretrained)
        network = _network(config, policy, pretrained).to(device)
        return cls(
            config=config,
            processes=processes,
            policy_config=policy,
            normalization=normalization,
            data=data,
            trunk_sha256=trunk_sha256,
            learner=Learner(network, config, processes, words),
            sampler=SubtrajectorySampler(
                data.trained, policy.context_length, generator(config.seed, SUBTRAJECTORY_STREAM)
            ),
            scaling=Scaling(policy, normalization, device),
            text=text,
            language_ability=_language_ability(config, corpus, pretrained, device),
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


def _network(config: TrainConfig, policy: PolicyConfig, pretrained: PretrainedTrunk | None) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = build(policy) if pretrained is None else LamoModel(policy, pretrained.trunk)
        adapt(
            network,
            config.adaptation,
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
        )
    return network


def _corpus(config: TrainConfig, pretrained: PretrainedTrunk) -> Corpus | None:
    """The text of the language loss, which also shows what the trunk still knows of language."""
    trains = config.language_loss_weight > 0
    if config.lm == NO_LM and trains:
        raise ConfigError(f"language_loss_weight is {config.language_loss_weight}, but lm {NO_LM!r} has no words")
    if not trains and not _knows_language(config):
        return None
    try:
        corpus = load_corpus(config.text, load_tokenizer(location(config.lm)))
    except InputError:
        if trains or config.text:
            raise
        return None  # no text was asked for: a model without tokenizer is trained, only not watched
    if (largest := int(corpus.token_ids.max(initial=0))) >= len(pretrained.wte):
        raise LanguageModelError(
            f"the tokenizer of {config.lm!r} gives token {largest}, its model has {len(pretrained.wte)}"
        )
    return corpus


def _knows_language(config: TrainConfig) -> bool:
    return config.lm != NO_LM and not config.random_init


def _language_ability(
    config: TrainConfig, corpus: Corpus | None, pretrained: PretrainedTrunk | None, device: torch.device
) -> LanguageAbility | None:
    if corpus is None or pretrained is None or not _knows_language(config):
        return None
    return LanguageAbility.of(corpus.held_out, pretrained, device)


def _text(config: TrainConfig, corpus: Corpus, pretrained: PretrainedTrunk) -> Text | None:
    if config.language_loss_weight == 0:
        return None
    batches = LanguageBatches(
        corpus.trained,
        batch_size=LANGUAGE_BLOCKS,
        length=min(LONGEST_BLOCK, len(pretrained.wpe)),
        generator=generator(config.seed, LANGUAGE_STREAM),
    )
    return Text(batches, corpus.identity)


def _words(config: TrainConfig, pretrained: PretrainedTrunk, device: torch.device) -> WordEmbeddings:
    wpe = pretrained.wpe.to(device) if config.language_positions else None
    return WordEmbeddings(pretrained.wte.to(device), wpe)
