"""Checkpoint: a policy on disk as a directory; written whole, verified when read, never pickled.

    config.json          PolicyConfig                                    ┐
    model.safetensors    the network with LoRA merged in, float32         ├ the revision is their hash
    normalization.json   mean and standard deviation of the observations ┘
    training.json        how it came to be: every hyperparameter, data identity, seeds, code version, scores
    README.md            the model card

A policies folder holds `<name>/` as a checkpoint, or `<name>/<revision>/` with the served one named in a one-line
file `current`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lamo.config import PolicyConfig
from lamo.errors import CheckpointError, ConfigError
from lamo.network import build
from lamo.normalization import Normalization

CONFIG, WEIGHTS, STATISTICS = "config.json", "model.safetensors", "normalization.json"
TRAINING, CARD, CURRENT = "training.json", "README.md", "current"

REVISION_DIGITS = 12

Section = TypeVar("Section")


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint directory holds, verified.

    Attributes:
        config: sizes, spaces, constants.
        tensors: the network's state dict, float32.
        normalization: statistics of the training data's observations.
        revision: the identity of these three, 12 hex digits.
    """

    config: PolicyConfig
    tensors: dict[str, Tensor]
    normalization: Normalization
    revision: str

    @classmethod
    def read(cls, directory: Path) -> Checkpoint:
        """Read and verify a checkpoint.

        Raises:
            CheckpointError: a file is missing, truncated, or does not fit the others.
        """
        if not directory.is_dir():
            raise CheckpointError(f"there is no checkpoint directory {directory}")
        config = _read_section(directory / CONFIG, PolicyConfig.from_json)
        normalization = _read_section(
            directory / STATISTICS, lambda document: Normalization.from_json(document, config.observation.size)
        )
        tensors = _read_tensors(directory / WEIGHTS)
        _check_tensors(tensors, config, directory / WEIGHTS)
        return cls(config, tensors, normalization, revision(directory))


def revision(directory: Path) -> str:
    """First 12 hex digits of a SHA-256 over config, weights and statistics: the card's typos are no new policy."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, STATISTICS):
        digest.update(hashlib.sha256(_existing(directory / name).read_bytes()).digest())
    return digest.hexdigest()[:REVISION_DIGITS]


def write(
    directory: Path,
    config: PolicyConfig,
    tensors: Mapping[str, Tensor],
    normalization: Normalization,
    *,
    training: Mapping[str, Any],
    card: str,
) -> Checkpoint:
    """Write a checkpoint and read it back.

    The directory appears whole or not at all; a checkpoint that was there before is replaced.

    Raises:
        CheckpointError: there is something else of that name, or what was written does not read back.
    """
    _refuse_to_replace(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    replaced = workplace.with_name(f"{workplace.name}-replaced")
    try:
        _write_json(workplace / CONFIG, config.to_json())
        save_file(
            {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, workplace / WEIGHTS
        )
        _write_json(workplace / STATISTICS, normalization.to_json())
        _write_json(workplace / TRAINING, training)
        (workplace / CARD).write_text(card, encoding="utf-8")
        checkpoint = Checkpoint.read(workplace)
        workplace.chmod(0o755)
        if directory.exists():
            directory.rename(replaced)
        workplace.rename(directory)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        if directory.exists():
            shutil.rmtree(replaced, ignore_errors=True)
    return checkpoint


def find(policies: Path) -> dict[str, Path]:
    """The served checkpoint directory of every policy in a policies folder, by name.

    Raises:
        CheckpointError: the folder is missing or empty, or a `current` points nowhere.
    """
    if not policies.is_dir():
        raise CheckpointError(f"there is no policies folder {policies}")
    found = {}
    for directory in sorted(policies.iterdir()):
        if not directory.is_dir() or directory.name.startswith("."):
            continue
        found[directory.name] = _served_revision(directory)
    if not found:
        raise CheckpointError(f"policies folder {policies} holds no checkpoint directory")
    return found


def _served_revision(directory: Path) -> Path:
    pointer = directory / CURRENT
    if not pointer.exists():
        return directory
    chosen = pointer.read_text(encoding="utf-8").strip()
    if not chosen or Path(chosen).name != chosen or not (directory / chosen).is_dir():
        raise CheckpointError(f"{pointer} names {chosen!r}, which is no directory beside it")
    return directory / chosen


def _refuse_to_replace(directory: Path) -> None:
    """A whole folder of policies is one forgotten word away."""
    if directory.is_dir() and ((directory / CONFIG).is_file() or not any(directory.iterdir())):
        return
    if directory.exists():
        raise CheckpointError(f"{directory} is there and no checkpoint directory; name another one to write")


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_section(path: Path, build: Callable[[Mapping[str, Any]], Section]) -> Section:
    try:
        document = json.loads(_existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path} holds a {type(document).__name__}, not an object")
    try:
        return build(document)
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        # Copied out of the file's mapping: where a tensor lies in it decides its alignment, and that its last bits.
        return {name: tensor.clone() for name, tensor in load_file(_existing(path)).items()}
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path} ({size} bytes) is truncated or no safetensors file: {error}") from error


def _check_tensors(tensors: Mapping[str, Tensor], config: PolicyConfig, path: Path) -> None:
    with torch.device("meta"):
        expected = build(config).state_dict()
    if missing := sorted(expected.keys() - tensors.keys()):
        raise CheckpointError(f"{path} lacks {len(missing)} tensors of its config, the first is {missing[0]}")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise CheckpointError(
            f"{path} holds {len(unknown)} tensors its config has no place for, first {unknown[0]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {list(tensor.shape)}, its config says {list(expected[name].shape)}"
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"checkpoint file {path} is missing")
    return path
