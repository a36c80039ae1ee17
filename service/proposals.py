"""Proposals: from an act to the record that is committed for it; pure."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from lamo.errors import ActionNotFinite, InvalidRequest
from lamo.window import Actions, EpisodeWindow, Timestep
from service.cache import LiveEpisode
from service.contents import StepContent, computable
from service.episodes import Commit
from service.flight import Act
from service.records import Record, RecordLayout


@dataclass(frozen=True)
class Turn:
    """One row of a forward pass: the act, its episode before this step, and what the policy sees at this step."""

    act: Act
    live: LiveEpisode
    window: EpisodeWindow


@dataclass(frozen=True)
class Proposal:
    """A turn with its answer: the episode after the step, and the record to be committed."""

    act: Act
    live: LiveEpisode
    record: Record
    commit: Commit


def turn_of(act: Act, live: LiveEpisode) -> Turn:
    """The turn of an act that is its episode's next step.

    Raises:
        InvalidRequest: the reward takes the sums out of the range that can be computed with.
    """
    content = act.content
    window = live.window.observe(content.observation, content.earned, content.executed_action)
    return_scale = live.served.policy.config.return_scale
    if not (computable(window.return_to_go, return_scale) and math.isfinite(_episode_return(live, content))):
        raise InvalidRequest(f"reward {content.earned} takes the episode's return out of range")
    return Turn(act, live, window)


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
    record = Record(_timestep(turn, proposed), act.content.digest(window.step), act.content.observed_at)
    meta = dataclasses.replace(
        turn.live.meta,
        committed_step=window.step,
        return_to_go=window.return_to_go,
        episode_return=_episode_return(turn.live, act.content),
    )
    commit = Commit(
        episode_id=meta.episode_id,
        epoch=meta.epoch,
        first_step=window.step,
        context_length=layout.context_length,
        episode_return=meta.episode_return,
        return_to_go=meta.return_to_go,
        records=(layout.encode(record),),
    )
    live = LiveEpisode(meta, window.propose(served.policy.clip(proposed)), served)
    return Proposal(act, live, record, commit)


def _timestep(turn: Turn, proposed: Actions) -> Timestep:
    content = turn.act.content
    return Timestep(
        step=turn.window.step,
        reward=content.earned,
        return_to_go=turn.window.return_to_go,
        executed_action=content.executed_action,
        observation=content.observation,
        proposed_action=proposed,
    )


def _episode_return(live: LiveEpisode, content: StepContent) -> float:
    return live.meta.episode_return + content.earned
