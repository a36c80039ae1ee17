"""Endings: what the end of an episode writes to the store, and what its client is told."""

from __future__ import annotations

import math

from lamo.errors import InvalidRequest
from lamo.window import next_return_to_go
from lamo.wire import EpisodeSummary
from service.steps import rules
from service.steps.contents import EndContent
from service.steps.proposals import after_missed
from service.steps.recall import Recalled, unknown_episode
from service.store.episodes import Decision, Ending, Verdict
from service.store.records import RecordLayout


def ending_of(recalled: Recalled, content: EndContent, step: int, layout: RecordLayout) -> Ending:
    """What ends a recalled episode at a step; timesteps missed before it are recorded along with it.

    Raises:
        InvalidRequest: its return would be out of range.
        StepConflict: steps are missing before it.
    """
    live = recalled.live
    meta, config = live.meta, live.served.policy.config
    if not meta.ended and step - len(content.missed) > meta.committed_step + 1:
        # Another replica may fill this gap before the store decides, but these sums would lack its steps.
        raise rules.step_conflict(meta.episode_id, step, meta.committed_step)
    passed = [one for one in content.missed if (one.step or 0) > meta.committed_step]
    window, episode_return, records = after_missed(live, passed)
    episode_return += content.earned
    return_to_go = next_return_to_go(window.return_to_go, content.earned, delayed_reward=config.delayed_reward)
    if not math.isfinite(episode_return) or not math.isfinite(return_to_go):
        raise InvalidRequest(f"reward {content.earned} takes the episode's return out of range")
    summary = EpisodeSummary(
        episode_id=meta.episode_id,
        length=step,
        episode_return=episode_return,
        target_return=meta.target_return,
        terminated=content.terminated,
        truncated=content.truncated,
        success=content.success,
    )
    return Ending(
        name=meta.name,
        epoch=meta.epoch,
        step=step,
        digest=content.digest(step),
        context_length=config.context_length,
        episode_return=episode_return,
        return_to_go=return_to_go,
        summary=summary.model_dump_json(),
        records=tuple(layout.encode(record) for record in records),
    )


def summary_of(episode_id: str, step: int, decision: Decision) -> EpisodeSummary:
    """The answer to an end that the store has decided on.

    Raises:
        ContentChanged, StepConflict, UnknownEpisode: the store refused it.
    """
    match decision.verdict:
        case Verdict.COMMITTED | Verdict.REPLAY if decision.stored is not None:
            return EpisodeSummary.model_validate_json(decision.stored)
        case Verdict.CHANGED:
            raise rules.end_changed(episode_id)
        case Verdict.MISSING:
            raise unknown_episode(episode_id)
        case _:
            raise rules.step_conflict(episode_id, step, decision.committed_step)
