"""Verdict: what became of every step of a workload: the client's traces beside the record that Redis kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamo.rollout import EpisodeResult
from tests.faults.journal import Recorded
from tests.faults.workload import Played, Workload


@dataclass(frozen=True)
class Verdict:
    """One line of the fault matrix.

    Attributes:
        hits: how often the fault happened while steps were asked for.
        steps: answered to the client, in all rounds.
        lost: steps the client was answered that the record does not hold with the same observation.
        doubled: steps that were recorded although they were before, and rewards not counted once each.
        equal: whether every trace is the undisturbed one, bit for bit.
        errors: answers of status 500, and tracebacks in the service's log.
        longest_gap_ms: the longest that the client waited for an action, tries included.
        failure: what ended the client's evaluation early; empty if it was played.
    """

    fault: str
    hits: int
    steps: int
    lost: int
    doubled: int
    equal: bool
    errors: int
    longest_gap_ms: float
    failure: str

    @property
    def faultless(self) -> bool:
        return self.hits > 0 and self.equal and not (self.lost or self.doubled or self.errors or self.failure)


def judge(
    fault: str,
    hits: int,
    workload: Workload,
    undisturbed: Sequence[EpisodeResult],
    journal: Mapping[str, Recorded],
    errors: int,
) -> Verdict:
    """The verdict on a workload that is over."""
    episodes = [
        (recorded_of(journal, episode_id), result)
        for played in workload.rounds
        for episode_id, result in zip(played.episode_ids, played.results, strict=True)
    ]
    return Verdict(
        fault=fault,
        hits=hits,
        steps=workload.steps,
        lost=sum(lost_steps(recorded, result) for recorded, result in episodes),
        doubled=sum(doubled_steps(recorded, result) for recorded, result in episodes),
        equal=workload.failure is None and all(same_bits(played, undisturbed) for played in workload.rounds),
        errors=errors + workload.outcomes["500"],
        longest_gap_ms=1000 * workload.longest_wait,
        failure="" if workload.failure is None else str(workload.failure),
    )


def recorded_of(journal: Mapping[str, Recorded], episode_id: str) -> Recorded:
    return journal.get(episode_id, Recorded())


def lost_steps(recorded: Recorded, result: EpisodeResult) -> int:
    """How many steps the client was answered that are not recorded as it sent them."""
    assert result.trace is not None
    lost = 0
    for step, observation in enumerate(result.trace.observations):
        record = recorded.records.get(step)
        lost += record is None or record.timestep.observation.tobytes() != observation.tobytes()
    return lost


def doubled_steps(recorded: Recorded, result: EpisodeResult) -> int:
    """How many steps were written twice, and one more if rewards were not counted once each."""
    return recorded.doubled + (recorded.episode_return != result.episode_return)


def same_bits(played: Played, undisturbed: Sequence[EpisodeResult]) -> bool:
    """Whether observations, actions and rewards are the same bits."""
    return all(_bits(one) == _bits(other) for one, other in zip(played.results, undisturbed, strict=True))


def _bits(result: EpisodeResult) -> tuple[object, ...]:
    trace = result.trace
    assert trace is not None
    return result.plan, trace.observations.tobytes(), trace.actions.tobytes(), trace.rewards.tobytes()
