"""Answers: what the service knows, in the words of the HTTP API."""

from __future__ import annotations

from lamo.errors import StepConflict
from lamo.scores import ReferenceReturns
from lamo.window import Timestep
from lamo.wire import (
    API_VERSION,
    ActAnswer,
    ActionInfo,
    EpisodeState,
    ObservationInfo,
    PolicyInfo,
    PolicyList,
    ReferenceReturnsInfo,
    Timing,
)
from service.policies.revisions import PolicyDescription, ServedPolicy
from service.store.episodes import EpisodeMeta
from service.version import server_version


def act_answer(
    meta: EpisodeMeta,
    served: ServedPolicy,
    timestep: Timestep,
    *,
    committed_step: int,
    replayed: bool,
    timing: Timing,
) -> ActAnswer:
    """The answer to an act, first given or replayed, from what is recorded of it.

    Raises:
        StepConflict: the step passed without an action being asked for.
    """
    proposed = timestep.proposed_action
    if proposed is None:
        raise StepConflict(
            f"step {timestep.step} of episode {meta.episode_id!r} is recorded without an action",
            committed_step=committed_step,
            expected_step=committed_step + 1,
        )
    action = served.policy.clip(proposed)
    return ActAnswer(
        episode_id=meta.episode_id,
        step=timestep.step,
        action=action.tolist(),
        return_to_go=timestep.return_to_go,
        policy=meta.policy,
        revision=meta.revision,
        committed_step=committed_step,
        replayed=replayed,
        clipped=(action != proposed).nonzero()[0].tolist(),
        observation_zscore=served.policy.normalization.zscore(timestep.observation),
        timing=timing,
    )


def episode_state(meta: EpisodeMeta) -> EpisodeState:
    """Where an episode stands."""
    return EpisodeState(
        episode_id=meta.episode_id,
        policy=meta.policy,
        revision=meta.revision,
        hop=meta.hop,
        dtype=meta.dtype,
        target_return=meta.target_return,
        return_to_go=meta.return_to_go,
        episode_return=meta.episode_return,
        committed_step=meta.committed_step,
        expected_step=meta.committed_step + 1,
        labels=meta.labels,
        ttl_seconds=meta.ttl_seconds,
        expires_at=meta.expires_at,
        ended=meta.ended,
    )


def policy_info(described: PolicyDescription) -> PolicyInfo:
    """What a client has to know about a policy."""
    config, normalization = described.config, described.normalization
    return PolicyInfo(
        name=described.name,
        revision=described.revision,
        task=config.task,
        observation=ObservationInfo(
            shape=list(config.observation.shape),
            dtype=config.observation.dtype,
            names=_listed(config.observation.names),
            units=_listed(config.observation.units),
            mean=normalization.mean.tolist(),
            std=normalization.std.tolist(),
        ),
        action=ActionInfo(
            shape=list(config.action.shape),
            dtype=config.action.dtype,
            low=list(config.action.low),
            high=list(config.action.high),
            names=_listed(config.action.names),
            units=_listed(config.action.units),
        ),
        context_length=config.context_length,
        hop=config.hop,
        dtype=described.dtype,
        return_scale=config.return_scale,
        target_returns=list(config.target_returns),
        max_timesteps=config.max_timesteps,
        environment=config.environment,
        step_seconds=config.step_seconds,
        reference_returns=_reference_returns(config.reference_returns),
    )


def policy_list(served: list[ServedPolicy]) -> PolicyList:
    """All policies, and the versions of contract and server."""
    policies = [policy_info(policy.description) for policy in served]
    return PolicyList(api_version=API_VERSION, server_version=server_version(), policies=policies)


def _listed(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _reference_returns(known: ReferenceReturns | None) -> ReferenceReturnsInfo | None:
    return None if known is None else ReferenceReturnsInfo(random=known.random, expert=known.expert)
