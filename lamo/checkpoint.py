"""Checkpoint: a policy on disk as a directory; written whole, verified when read, never pickled.

    config.json          PolicyConfig                                    ┐
    model.safetensors    the network with LoRA merged in, float32         ├ the revision is their hash
    normalization.json   mean and standard deviation of the observations ┘
    training.json        how it came to be: every hyperparameter, data identity, seeds, code version, scores
    README.md            the model card

A policies folder holds `<name>/` as a checkpoint, or `<name>/<revision>/` with the served one named in a one-line
file `current`, which names nothing outside. Links that whoever owns the folder put there are followed; names in
requests are looked up among those found, and never become paths. Names that begin with a dot are workplaces, and
nobody's.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lamo import document
from lamo.config import PolicyConfig
from lamo.errors import CheckpointError, ConfigError
from lamo.network import build
from lamo.normalization import Normalization

CONFIG, WEIGHTS, STATISTICS = "config.json", "model.safetensors", "normalization.json"
TRAINING, CARD, CURRENT = "training.json", "README.md", "current"

REVISION_FILES = (CONFIG, WEIGHTS, STATISTICS)
REVISION_DIGITS = 12

DTYPE = "F32"

MAX_POINTER_BYTES = 128

Section = TypeVar("Section")

_POINTED = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")

_SERVED = re.compile(r"[^\x00-\x20@/\x7f]{1,200}")
"""A policy's name stands in paths, in logs, and before the @ of a revision."""


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
        config, normalization = read_description(directory)
        tensors = _read_tensors(directory / WEIGHTS, config)
        return cls(config, tensors, normalization, revision(directory))


def read_description(directory: Path) -> tuple[PolicyConfig, Normalization]:
    """What a checkpoint says of itself, without its weights.

    Raises:
        CheckpointError: a file is missing or not what it should be.
    """
    config = _read_section(directory / CONFIG, PolicyConfig.from_json)
    return config, _read_section(
        directory / STATISTICS, lambda document: Normalization.from_json(document, config.observation.size)
    )


def revision(directory: Path) -> str:
    """First 12 hex digits of a SHA-256 over config, weights and statistics: the card's typos are no new policy."""
    digest = hashlib.sha256()
    for name in REVISION_FILES:
        with _existing(directory / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
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
        CheckpointError: the folder is missing or empty, a name cannot be one, or a `current` points nowhere.
    """
    if not policies.is_dir():
        raise CheckpointError(f"there is no policies folder {policies}")
    found = {directory.name: served_directory(directory) for directory in subdirectories(policies)}
    if not found:
        raise CheckpointError(f"policies folder {policies} holds no checkpoint directory")
    return found


def subdirectories(directory: Path) -> list[Path]:
    """Those that may be policies of a folder, or revisions of a policy, by name."""
    return sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))


def publish(directory: Path, policy: Path) -> Path:
    """Move a checkpoint to `<policy>/<revision>/` and let `current` name it; the revisions before it stay.

    Services that look at the folder see the revision before or this one, whole, at any moment.

    Raises:
        CheckpointError: `policy` is a checkpoint itself.
    """
    if (policy / CONFIG).exists():
        raise CheckpointError(f"{policy} is a checkpoint itself; revisions need a directory of their own")
    chosen = policy / revision(directory)
    policy.mkdir(parents=True, exist_ok=True)
    if chosen.exists():
        shutil.rmtree(directory)
    else:
        directory.rename(chosen)
    pointer = policy / f".{CURRENT}-{secrets.token_hex(4)}"
    pointer.write_text(f"{chosen.name}\n", encoding="utf-8")
    pointer.replace(policy / CURRENT)
    return chosen


def served_directory(directory: Path) -> Path:
    """The checkpoint of a policy's directory that new episodes get.

    Raises:
        CheckpointError: the directory's name cannot be a policy's, or `current` points nowhere.
    """
    if not _SERVED.fullmatch(directory.name):
        raise CheckpointError(
            f"{str(directory.parent)!r} holds {directory.name!r}, which cannot be a policy's name"
        )
    pointer = directory / CURRENT
    if not pointer.exists():
        return directory
    with pointer.open("rb") as file:
        chosen = file.read(MAX_POINTER_BYTES).decode("utf-8", "replace").strip()
    if not _POINTED.fullmatch(chosen) or not (directory / chosen).is_dir():
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
        return build(document.read(_existing(path)))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _read_tensors(path: Path, config: PolicyConfig) -> dict[str, Tensor]:
    """The file's tensors. Its header is held against the config before one of them is read."""
    try:
        with safe_open(_existing(path), framework="pt") as file:
            _check_header(file, config, path)
            # Copied out of the file's mapping: where a tensor lies in it decides its alignment, and that its last
            # bits.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(f"{path} ({size} bytes) is truncated or no safetensors file: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite")
    return tensors


def _check_header(file: Any, config: PolicyConfig, path: Path) -> None:
    with torch.device("meta"):
        expected = build(config).state_dict()
    names = set(file.keys())
    if missing := sorted(expected.keys() - names):
        raise CheckpointError(f"{path} lacks {len(missing)} tensors of its config, the first is {missing[0]}")
    if unknown := sorted(names - expected.keys()):
        raise CheckpointError(
            f"{path} holds {len(unknown)} tensors its config has no place for, first {unknown[0]}"
        )
    for name, wanted in expected.items():
        told = file.get_slice(name)
        if told.get_shape() != list(wanted.shape):
            raise CheckpointError(
                f"{path}: {name} has shape {told.get_shape()}, its config says {list(wanted.shape)}"
            )
        if told.get_dtype() != DTYPE:
            raise CheckpointError(f"{path}: {name} is of type {told.get_dtype()}, weights are {DTYPE}")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(f"checkpoint file {path} is missing")
    return path
