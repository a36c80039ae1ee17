"""Snapshot: all that changes in a run, on disk, so that it goes on as if it had never stopped; not pickled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamo.errors import ConfigError
from training.learning.experiment import Experiment

WEIGHT, OPTIMIZER, CHANCE = "weight/", "optimizer/", "chance/"


@dataclass(frozen=True)
class Snapshot:
    """Where a run stands after an update.

    Attributes:
        update: how many updates were made.
        tensors: `weight/<parameter>`, `optimizer/<moment>/<parameter>`, `chance/<device>`: states of torch's
            generators, which dropout draws from.
        generators: states of the generators that draw subtrajectories and text.
    """

    update: int
    tensors: Mapping[str, Tensor]
    generators: Mapping[str, Any]

    @classmethod
    def take(cls, experiment: Experiment, update: int) -> Snapshot:
        """The state of the run now."""
        learner = experiment.learner
        tensors = {f"{WEIGHT}{name}": item.detach() for name, item in learner.parameters.items()}
        for name, parameter in learner.parameters.items():
            for moment, value in learner.optimizer.state[parameter].items():
                tensors[f"{OPTIMIZER}{moment}/{name}"] = value
        tensors[f"{CHANCE}cpu"] = torch.get_rng_state()
        if experiment.scaling.device.type == "cuda":
            tensors[f"{CHANCE}cuda"] = torch.cuda.get_rng_state(experiment.scaling.device)
        generators = {"subtrajectories": experiment.sampler.generator_state}
        if experiment.text is not None:
            generators["text"] = experiment.text.batches.state
        return cls(update, {name: item.cpu().clone() for name, item in tensors.items()}, generators)

    def restore(self, experiment: Experiment) -> None:
        """Put a freshly prepared experiment, and torch's generators, where they were.

        Raises:
            ConfigError: the snapshot is of another network.
        """
        self.restore_weights(experiment)
        self._restore_optimizer(experiment)
        torch.set_rng_state(self.tensors[f"{CHANCE}cpu"])
        if experiment.scaling.device.type == "cuda" and f"{CHANCE}cuda" in self.tensors:
            torch.cuda.set_rng_state(self.tensors[f"{CHANCE}cuda"], experiment.scaling.device)
        experiment.sampler.generator_state = self.generators["subtrajectories"]
        if experiment.text is not None:
            experiment.text.batches.state = self.generators["text"]

    @torch.no_grad()
    def restore_weights(self, experiment: Experiment) -> None:
        """Put only what was trained where it was: enough to export it."""
        parameters = experiment.learner.parameters
        saved = {name.removeprefix(WEIGHT): item for name, item in self.tensors.items() if name.startswith(WEIGHT)}
        shapes = {name: list(item.shape) for name, item in saved.items()}
        for name in sorted(shapes.keys() | parameters.keys()):
            here = list(parameters[name].shape) if name in parameters else None
            if shapes.get(name) != here:
                raise ConfigError(
                    f"the snapshot of update {self.update} is of another network: "
                    f"{name} has shape {shapes.get(name)} there, {here} here"
                )
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])

    def write(self, directory: Path) -> None:
        """Write the snapshot; it appears whole or not at all."""
        workplace = directory.with_name(f".{directory.name}.{os.getpid()}")
        workplace.mkdir(parents=True)
        try:
            save_file({name: item.contiguous() for name, item in self.tensors.items()}, workplace / "tensors")
            state = {"update": self.update, "generators": self.generators}
            (workplace / "state.json").write_text(json.dumps(state) + "\n", encoding="utf-8")
            if directory.exists():
                shutil.rmtree(directory)
            workplace.rename(directory)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)

    @classmethod
    def read(cls, directory: Path) -> Snapshot:
        """The snapshot in a directory.

        Raises:
            ConfigError: it is not whole.
        """
        try:
            state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
            return cls(state["update"], load_file(directory / "tensors"), state["generators"])
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise ConfigError(f"snapshot {directory} cannot be read: {error}") from error

    def _restore_optimizer(self, experiment: Experiment) -> None:
        learner = experiment.learner
        state = learner.optimizer.state_dict()
        moments: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(learner.parameters))}
        indices = {name: index for index, name in enumerate(learner.parameters)}
        for name, tensor in self.tensors.items():
            if name.startswith(OPTIMIZER):
                moment, _, parameter = name.removeprefix(OPTIMIZER).partition("/")
                moments[indices[parameter]][moment] = tensor
        learner.optimizer.load_state_dict({**state, "state": moments})
