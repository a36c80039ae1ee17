"""Environments as text: Gymnasium's name where it says all, otherwise its whole EnvSpec as JSON."""

from __future__ import annotations

import importlib
import json
from dataclasses import fields

import gymnasium
from gymnasium.envs.registration import EnvSpec


def find(text: str) -> EnvSpec | None:
    """The spec that the text, `[module:]name` or JSON, stands for; None where it is not installed."""
    try:
        if text.startswith("{"):
            return EnvSpec.from_json(text)
        module, _, name = text.rpartition(":")
        if module:
            importlib.import_module(module)
        return gymnasium.spec(name)
    except (ValueError, KeyError, ImportError, gymnasium.error.Error):
        return None


def tell(written: str) -> str:
    """The text for a spec that was written as JSON, by this Gymnasium or by an older one.

    Raises:
        ValueError: it is no spec.
    """
    known = {field.name for field in fields(EnvSpec) if field.init}
    # Before Gymnasium 1.0 specs had fields that they no longer have.
    spec = EnvSpec.from_json(json.dumps({key: value for key, value in json.loads(written).items() if key in known}))
    registered = gymnasium.registry.get(spec.id)
    return spec.id if registered is not None and _same(spec, registered) else spec.to_json()


def _same(spec: EnvSpec, registered: EnvSpec) -> bool:
    """Whether the name alone makes the environment, in any process; how it is drawn does not matter."""

    def essence(of: EnvSpec) -> tuple[object, ...]:
        kwargs = {key: value for key, value in of.kwargs.items() if key != "render_mode"}
        return of.entry_point, of.max_episode_steps, kwargs, of.additional_wrappers

    return str(spec.entry_point).startswith("gymnasium.") and essence(spec) == essence(registered)
