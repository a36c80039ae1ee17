"""Rules: what an act request's step means for its episode; pure, the step table of the HTTP contract."""

from __future__ import annotations

from collections.abc import Sequence

from lamo.errors import ContentChanged, EpisodeEnded, EpisodeExists, StepConflict, StepInFlight
from service.steps.contents import StepContent
from service.steps.recall import Recalled
from service.store.episodes import Decision, Verdict
from service.store.records import Record


def recorded_or_next(content: StepContent, recalled: Recalled) -> Record | None:
    """The record that answers the request, or None if it is the next step and has to be inferred.

    Raises:
        ContentChanged: the step, or one that it tells of as missed, is recorded with other content.
        EpisodeEnded: it would be a new step of an ended episode.
        InvalidRequest: the policy cannot take the content, or no step this far.
        StepConflict: the step leaves a gap, or is older than the record.
    """
    meta, served = recalled.live.meta, recalled.live.served
    config = served.policy.config
    content.check_shapes(config, served.name)
    step = meta.committed_step + 1 if content.step is None else content.step
    refuse_other_past(content.missed, recalled)
    if step <= meta.committed_step:
        return _recorded(content, step, recalled)
    if meta.ended:
        raise episode_ended(meta.episode_id, meta.committed_step)
    content.check_step(config, served.name, step)
    if step - len(content.missed) > meta.committed_step + 1:
        raise step_conflict(meta.episode_id, step - len(content.missed), meta.committed_step)
    return None


def refuse_other_past(missed: Sequence[StepContent], recalled: Recalled) -> None:
    """What is told of as missed and is recorded has to be the same; what has left the record is not compared.

    Raises:
        ContentChanged: it is not.
    """
    for passed in missed:
        step = passed.step or 0
        record = _record(step, recalled)
        if record is not None and record.digest != passed.digest(step):
            raise content_changed(recalled.live.meta.episode_id, step)


def _recorded(content: StepContent, step: int, recalled: Recalled) -> Record:
    meta = recalled.live.meta
    record = _record(step, recalled)
    if record is None:
        raise step_conflict(meta.episode_id, step, meta.committed_step)
    if record.digest != content.digest(step):
        raise content_changed(meta.episode_id, step)
    return record


def _record(step: int, recalled: Recalled) -> Record | None:
    """What is recorded of a step, None if nothing is (any more)."""
    records, committed_step = recalled.records or (), recalled.live.meta.committed_step
    return records[step - committed_step - 1] if committed_step - len(records) < step <= committed_step else None


def step_conflict(episode_id: str, step: int, committed_step: int) -> StepConflict:
    """The answer to a step that is neither the next one nor recorded."""
    relation = "leaves a gap" if step > committed_step else "is older than what is recorded"
    return StepConflict(
        f"step {step} of episode {episode_id!r} {relation}: committed is {committed_step}, "
        f"expected is {committed_step + 1}",
        committed_step=committed_step,
        expected_step=committed_step + 1,
    )


def content_changed(episode_id: str, step: int) -> ContentChanged:
    """The answer to a recorded step that is sent with other content."""
    return ContentChanged(f"step {step} of episode {episode_id!r} is recorded with other content")


def episode_ended(episode_id: str, committed_step: int) -> EpisodeEnded:
    """The answer to a new act of an ended episode."""
    return EpisodeEnded(
        f"episode {episode_id!r} ended after {committed_step + 1} steps", committed_step=committed_step
    )


def refuse_other_than_restored(episode_id: str, last: int, decision: Decision) -> None:
    """Answer a window that was not taken.

    Raises:
        EpisodeEnded: the episode has ended.
        EpisodeExists: it is another policy's.
        StepConflict: it stands beyond the window.
    """
    match decision.verdict:
        case Verdict.RESTORED:
            return
        case Verdict.ENDED:
            raise episode_ended(episode_id, decision.committed_step)
        case Verdict.EXISTS:
            raise EpisodeExists(f"episode {episode_id!r} lives with another policy or revision")
        case _:
            raise StepConflict(
                f"episode {episode_id!r} stands at step {decision.committed_step}, beyond the window's step {last}",
                committed_step=decision.committed_step,
                expected_step=decision.committed_step + 1,
            )


def step_in_flight(episode_id: str, step: int | None) -> StepInFlight:
    """The answer to a request that has to wait for the one under way."""
    which = "a step" if step is None else f"step {step}"
    return StepInFlight(f"{which} of episode {episode_id!r} is being computed; send this again", retry_after_ms=10)


def end_changed(episode_id: str) -> ContentChanged:
    """The answer to ending an episode again in another way."""
    return ContentChanged(f"episode {episode_id!r} has ended already, with other content")
