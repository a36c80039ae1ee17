"""Where a checkpoint comes from, as its `training.json` tells."""

from __future__ import annotations

import json
from pathlib import Path

from lamo.checkpoint import TRAINING
from lamo.evaluation import Origin


def read_origin(directory: Path) -> Origin:
    """The origin of a checkpoint; an empty one where it has no record of its training, or another program's."""
    try:
        record = json.loads((directory / TRAINING).read_text(encoding="utf-8"))
        config, data = record["config"], record["data"]
        return Origin(
            dataset=data["name"],
            dataset_hash=data["sha256"],
            sample_ratio=data.get("sample_ratio", config["sample_ratio"]),
            algorithm=config["label"] or config["algorithm"],
            preset=config["preset"],
            seed=config["seed"],
            update=record["updates"],
            code_version=record["code_version"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return Origin()
