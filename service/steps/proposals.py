"""Proposals: from an act to the records that are committed for it; pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamo.errors import ActionNotFinite, InvalidRequest
from lamo.window import Actions, EpisodeWindow, Timestep
from service.steps.cache import LiveEpisode
from service.steps.contents import StepContent
from service.steps.flight import Act
from service.steps.numbers import computable
from service.store.episodes import Commit
from service.store.records import Record, RecordLayout


@dataclass(frozen=True)
class Turn:
    """One row of a forward pass: the act, its episode before this step, and what the policy sees at this step.

    Attributes:
        missed: records of the timesteps before this step that passed unanswered and are not committed yet.
        episode_return: with the rewards of these timesteps and of this step.
    """

    act: Act
    live: LiveEpisode
    window: EpisodeWindow
    missed: tuple[Record, ...]
    episode_return: float


@dataclass(frozen=True)
class Proposal:
    """A turn with its answer: the episode after the step, and the records to be committed, the step's the last."""

    act: Act
    live: LiveEpisode
    records: tuple[Record, ...]
    commit: Commit


def turn_of(act: Act, live: LiveEpisode) -> Turn:
    """The turn of an act that is its episode's next step.

    Raises:
        InvalidRequest: a reward takes the sums out of the range that can be computed with.
    """
    content = act.content
    window, episode_return, missed = after_missed(live, content.since(live.meta.committed_step + 1))
    window = _observed(window, content)
    episode_return += content.earned
    _check_sums(live, window, episode_return, content)
    return Turn(act, live, window, missed, episode_return)


def after_missed(
    live: LiveEpisode, missed: Sequence[StepContent]
) -> tuple[EpisodeWindow, float, tuple[Record, ...]]:
    """Window, episode return and records once these timesteps have passed without an action being proposed.

    Raises:
        InvalidRequest: a reward takes the sums out of the range that can be computed with.
    """
    window, episode_return, records = live.window, live.meta.episode_return, []
    for content in missed:
        window = _observed(window, content)
        episode_return += content.earned
        _check_sums(live, window, episode_return, content)
        records.append(_record(content, window, None))
    return window, episode_return, tuple(records)


def proposal_of(turn: Turn, proposed: Actions, layout: RecordLayout) -> Proposal:
    """What is committed for a turn.

    Raises:
        ActionNotFinite: the policy answered with infinity or NaN.
    """
    act, window, served = turn.act, turn.window, turn.live.served
    if not np.isfinite(proposed).all():
        raise ActionNotFinite(
            f"policy {served.name!r} proposed {proposed.tolist()} at step {window.step}; nothing was committed"
        )
    records = (*turn.missed, _record(act.content, window, proposed))
    meta = dataclasses.replace(
        turn.live.meta,
        committed_step=window.step,
        return_to_go=window.return_to_go,
        episode_return=turn.episode_return,
    )
    commit = Commit(
        name=meta.name,
        epoch=meta.epoch,
        first_step=window.step - len(turn.missed),
        context_length=layout.context_length,
        episode_return=meta.episode_return,
        return_to_go=meta.return_to_go,
        records=tuple(layout.encode(record) for record in records),
    )
    live = LiveEpisode(meta, window.propose(served.policy.clip(proposed)), served)
    return Proposal(act, live, records, commit)


def _observed(window: EpisodeWindow, content: StepContent) -> EpisodeWindow:
    return window.observe(content.observation, content.earned, content.executed_action)


def _record(content: StepContent, window: EpisodeWindow, proposed: Actions | None) -> Record:
    """The record of the timestep that a window ends with."""
    timestep = Timestep(
        step=window.step,
        reward=content.earned,
        return_to_go=window.return_to_go,
        executed_action=content.executed_action,
        observation=content.observation,
        proposed_action=proposed,
    )
    return Record(timestep, content.digest(window.step), content.observed_at)


def _check_sums(live: LiveEpisode, window: EpisodeWindow, episode_return: float, content: StepContent) -> None:
    return_scale = live.served.policy.config.return_scale
    if not (computable(window.return_to_go, return_scale) and math.isfinite(episode_return)):
        raise InvalidRequest(f"reward {content.earned} takes the episode's return out of range")
