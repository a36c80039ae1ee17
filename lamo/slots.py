"""Slots: which window each slot of the key/value memory holds; pure, it knows no network.

A slot is used only where what it was computed from is, byte for byte, the beginning of the window asked for. So
nobody has to tell it what was committed, replaced by an executed action, repeated, or started anew under an old
name: whatever differs is computed again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from lamo.window import EpisodeWindow, window_start


@dataclass(frozen=True)
class Place:
    """Where a window's keys and values are kept, and whether all but its last timestep's are there already."""

    slot: int
    held: bool


class Slots:
    """At most `count` windows by name, least recently used given up first."""

    def __init__(self, count: int) -> None:
        self._free = list(range(count))
        self._slots: OrderedDict[Hashable, int] = OrderedDict()
        self._contents: dict[int, _Content] = {}

    def place(self, names: Sequence[Hashable], windows: Sequence[EpisodeWindow]) -> list[Place | None]:
        """A place for each window of one batch, None for one that needs none or finds none free.

        What was in the places is void until `keep` says that the batch was computed.
        """
        taken: set[int] = set()
        places = []
        for name, window in zip(names, windows, strict=True):
            place = self._place(name, window, taken)
            if place is not None:
                taken.add(place.slot)
            places.append(place)
        return places

    def keep(self, places: Sequence[Place | None], windows: Sequence[EpisodeWindow]) -> None:
        """The keys and values of these windows are in their places now."""
        for place, window in zip(places, windows, strict=True):
            if place is not None:
                self._contents[place.slot] = _Content.of(window)

    def _place(self, name: Hashable, window: EpisodeWindow, taken: set[int]) -> Place | None:
        slot = self._slots.get(name)
        if slot in taken:
            return None
        content = None if slot is None else self._contents.pop(slot, None)
        held = content is not None and content.begins(window)
        if not held and not _stands_still(window):
            self._give_up(name)
            return None
        if slot is None:
            slot = self._free_slot(taken)
            if slot is None:
                return None
            self._slots[name] = slot
        self._slots.move_to_end(name)
        return Place(slot, held)

    def _free_slot(self, taken: set[int]) -> int | None:
        """A free slot, or the least recently used one unless this batch uses it."""
        if not self._free and self._slots:
            name, slot = next(iter(self._slots.items()))
            if slot not in taken:
                self._give_up(name)
        return self._free.pop() if self._free else None

    def _give_up(self, name: Hashable) -> None:
        slot = self._slots.pop(name, None)
        if slot is not None:
            self._contents.pop(slot, None)
            self._free.append(slot)


@dataclass(frozen=True)
class _Content:
    """What a slot's keys and values were computed from: returns-to-go, observations, all actions but the last."""

    start: int
    returns_to_go: bytes
    observations: bytes
    actions: bytes

    @classmethod
    def of(cls, window: EpisodeWindow) -> _Content:
        return cls(
            window.start,
            window.returns_to_go.tobytes(),
            window.observations.tobytes(),
            window.actions[:-1].tobytes(),
        )

    def begins(self, window: EpisodeWindow) -> bool:
        """Whether every token of the window before its last action is here."""
        return (
            len(window.returns_to_go) > 1
            and self.start == window.start
            and self.returns_to_go.startswith(window.returns_to_go[:-1].tobytes())
            and self.observations.startswith(window.observations[:-1].tobytes())
            and self.actions.startswith(window.actions[:-2].tobytes())
        )


def _stands_still(window: EpisodeWindow) -> bool:
    """Whether the next timestep's window begins where this one does; otherwise nothing of it is used again."""
    return window_start(window.step + 1, window.context_length, window.hop) == window.start
