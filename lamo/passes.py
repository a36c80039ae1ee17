"""Passes: forward passes of a transformer policy: windows whole or, where they stand still, by their new tokens."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamo.batch import Scaling
from lamo.captured import CapturedPasses
from lamo.config import PolicyConfig
from lamo.errors import ConfigError
from lamo.inference import InferenceNetwork, Memory
from lamo.model import LamoModel
from lamo.packed import Rows, fill_rows, fill_tokens, pack, step_rows
from lamo.slots import Place, Slots
from lamo.window import EpisodeWindow


class Passes:
    """Proposes actions for windows, with as little arithmetic as their slots allow."""

    def __init__(self, model: LamoModel, config: PolicyConfig, scaling: Scaling, slot_bytes: int) -> None:
        if config.trunk is None:
            raise ConfigError(f"policy {config.task!r} has no trunk")
        self._config = config
        self._scaling = scaling
        self._captured: CapturedPasses | None = None
        self._network = InferenceNetwork(model)
        self._memory = Memory(
            config.trunk,
            tokens=fill_tokens(config.context_length),
            limit_bytes=slot_bytes,
            device=scaling.device,
            dtype=scaling.dtype,
        )
        self._slots = Slots(self._memory.slots)

    def __call__(
        self, windows: Sequence[EpisodeWindow], names: Sequence[Hashable] | None
    ) -> NDArray[np.float32]:  # [len(windows), action_dim]
        """The action proposed for each window."""
        places: Sequence[Place | None] = [None] * len(windows)
        if names is not None:
            places = self._slots.place(names, windows)
        actions = self._forward(windows, places)
        self._keep(windows, places, [bool(np.isfinite(action).all()) for action in actions])
        return actions

    def _keep(
        self,
        windows: Sequence[EpisodeWindow],
        places: Sequence[Place | None],
        finite: Sequence[bool],
    ) -> None:
        """What came out finite may be built upon; other slots are cleared, for a mask does not hide a NaN."""
        self._slots.keep([place if good else None for place, good in zip(places, finite, strict=True)], windows)
        for place, good in zip(places, finite, strict=True):
            if place is not None and not good:
                self._memory.clear(place.slot)

    @torch.inference_mode()
    def capture(self, largest_batch: int) -> Iterator[None]:
        """On a GPU, capture every pass that batches of up to this size need, one by one; takes seconds in all."""
        if self._scaling.device.type == "cuda":
            captured = CapturedPasses(self._network, self._memory, self._scaling, self._config, largest_batch)
            yield from captured.capture()
            self._captured = captured

    @torch.inference_mode()
    def _forward(
        self, windows: Sequence[EpisodeWindow], places: Sequence[Place | None]
    ) -> NDArray[np.float32]:  # [len(windows), action_dim]
        if self._captured is not None:
            return self._captured(windows, places)
        groups = group_rows(windows, places)
        packed = pack(self._scaling, [group.rows for group in groups])
        grouped = self._network(packed, self._memory).float().cpu().numpy()
        actions: NDArray[np.float32] = np.empty_like(grouped)
        actions[np.concatenate([group.members for group in groups])] = grouped
        return actions


@dataclass(frozen=True)
class Group:
    """Windows of a batch that go through the network as equal rows; `members` are their places in the batch."""

    members: list[int]
    rows: Rows


def group_rows(windows: Sequence[EpisodeWindow], places: Sequence[Place | None]) -> list[Group]:
    """Steps together, whole windows of one length together, those without a slot apart."""
    members: dict[tuple[bool, bool, int], list[int]] = {}
    for index, (window, place) in enumerate(zip(windows, places, strict=True)):
        held = place is not None and place.held
        length = 0 if held else len(window.returns_to_go)
        members.setdefault((held, place is not None, length), []).append(index)
    return [
        Group(indices, _rows([windows[index] for index in indices], [places[index] for index in indices]))
        for indices in members.values()
    ]


def _rows(windows: Sequence[EpisodeWindow], places: Sequence[Place | None]) -> Rows:
    placed = [place for place in places if place is not None]
    slots = np.array([place.slot for place in placed], np.int64) if placed else None
    if slots is not None and placed[0].held:
        return step_rows(windows, slots)
    return fill_rows(windows, slots)
