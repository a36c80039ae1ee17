"""The device that training and evaluation run on, refused where this machine has none of that name."""

from __future__ import annotations

import torch

from lamo.errors import ConfigError


def usable_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"device {name!r} cannot be used: {reason}") from error
