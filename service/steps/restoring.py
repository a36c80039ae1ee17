"""Restoring: from the timesteps that a client gives back to an episode as the store keeps it; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lamo.errors import InvalidRequest
from lamo.window import Actions, Timestep, next_return_to_go
from lamo.wire import WindowRequest
from service.callers import EpisodeName
from service.policies.revisions import ServedPolicy
from service.steps.contents import StepContent, consecutive
from service.steps.numbers import check_shape, computable, number, optional_vector
from service.store.episodes import EpisodeMeta, Restoration
from service.store.records import Record, RecordLayout, content_digest


@dataclass(frozen=True)
class WindowContent:
    """A window request in canonical values.

    Attributes:
        contents: of each timestep, oldest first.
        actions: [action_dim] each, None where the timestep was missed.
        returns_to_go: raw; None where the client did not say.
    """

    target_return: float
    episode_return: float
    contents: tuple[StepContent, ...]
    actions: tuple[Actions | None, ...]
    returns_to_go: tuple[float | None, ...]

    @classmethod
    def of(cls, request: WindowRequest) -> WindowContent:
        """The content of a request.

        Raises:
            InvalidRequest: a number is not finite, timesteps are missing between others, the last one was not
                answered, or the one after a missed one does not say what was executed.
        """
        timesteps = request.timesteps
        content = cls(
            target_return=_finite("target_return", request.target_return),
            episode_return=_finite("episode_return", request.episode_return),
            contents=consecutive("timesteps", timesteps),
            actions=tuple(
                optional_vector(f"timesteps[{index}].action", timestep.action)
                for index, timestep in enumerate(timesteps)
            ),
            returns_to_go=tuple(
                number(f"timesteps[{index}].return_to_go", timestep.return_to_go)
                for index, timestep in enumerate(timesteps)
            ),
        )
        _refuse_unsaid_actions(content)
        return content

    @property
    def last(self) -> int:
        """The step of the last timestep."""
        return self.contents[-1].step or 0

    def check(self, served: ServedPolicy) -> None:
        """Refuse what the policy cannot take.

        Raises:
            InvalidRequest: naming the field, the shape or the limit.
        """
        config, name = served.policy.config, served.name
        if len(self.contents) > config.context_length:
            raise InvalidRequest(
                f"{len(self.contents)} timesteps were given, policy {name!r} sees at most {config.context_length}"
            )
        for content, action in zip(self.contents, self.actions, strict=True):
            content.check_shapes(config, name)
            content.check_step(config, name, content.step or 0)
            check_shape("action", action, config.action.shape, name)


def restoration_of(
    name: EpisodeName, request: WindowRequest, content: WindowContent, served: ServedPolicy, layout: RecordLayout
) -> Restoration:
    """The episode as of its last timestep, under a new epoch.

    Raises:
        InvalidRequest: its returns cannot be computed with.
    """
    config = served.policy.config
    returns_to_go = _returns_to_go(content, delayed_reward=config.delayed_reward)
    if not all(computable(value, config.return_scale) for value in (content.target_return, *returns_to_go)):
        raise InvalidRequest("the returns-to-go of these timesteps are out of range")
    held = min(config.context_length, content.last + 1)
    meta = EpisodeMeta(
        name=name,
        policy=served.name,
        revision=served.revision,
        hop=config.hop,
        dtype=served.policy.dtype,
        target_return=content.target_return,
        return_to_go=returns_to_go[-1],
        ttl_seconds=request.ttl_seconds,
        labels=request.labels,
        committed_step=content.last,
        first=0 if len(content.contents) == held else content.last + 1 - len(content.contents),
        episode_return=content.episode_return,
    )
    records = (
        Record(_timestep(said, return_to_go, action), said.digest(said.step or 0), None)
        for said, return_to_go, action in zip(content.contents, returns_to_go, content.actions, strict=True)
    )
    digest = content_digest(b"restored", meta.epoch.encode())
    return Restoration(meta, digest, config.context_length, tuple(layout.encode(record) for record in records))


def _timestep(said: StepContent, return_to_go: float, action: Actions | None) -> Timestep:
    return Timestep(
        step=said.step or 0,
        reward=said.earned,
        return_to_go=return_to_go,
        executed_action=said.executed_action,
        observation=said.observation,
        proposed_action=action,
    )


def _returns_to_go(content: WindowContent, *, delayed_reward: bool) -> Sequence[float]:
    """Of each timestep, raw: as it was answered, else from the one before it, else backwards from the sums."""
    if delayed_reward:
        return [content.target_return] * len(content.contents)
    known: list[float | None] = list(content.returns_to_go)
    if content.contents[0].step == 0:
        known[0] = content.target_return
    for index in range(1, len(known)):
        before = known[index - 1]
        if known[index] is None and before is not None:
            known[index] = next_return_to_go(before, content.contents[index].earned, delayed_reward=False)
    following = content.target_return - content.episode_return
    returns_to_go: list[float] = []
    for value, said in zip(reversed(known), reversed(content.contents), strict=True):
        returns_to_go.append(following if value is None else value)
        following = returns_to_go[-1] + said.earned
    return returns_to_go[::-1]


def _refuse_unsaid_actions(content: WindowContent) -> None:
    if content.actions[-1] is None:
        raise InvalidRequest(f"timesteps[{len(content.actions) - 1}].action is missing: end with an answered step")
    for index in range(1, len(content.actions)):
        if content.actions[index - 1] is None and content.contents[index].executed_action is None:
            raise InvalidRequest(
                f"timesteps[{index}].executed_action is missing: nothing was proposed at the timestep before it"
            )


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidRequest(f"{name} is {value}, not a finite number")
    return value
