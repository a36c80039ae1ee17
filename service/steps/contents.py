"""Contents: what an act or an end request says, as checked numbers in the policy's dtype, and their digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lamo.config import PolicyConfig
from lamo.errors import InvalidRequest
from lamo.window import Actions, Observations
from lamo.wire import ActRequest, EndRequest, MissedStep, WindowTimestep
from service.steps.numbers import check_shape, number, optional_vector, vector
from service.store.records import content_digest


@dataclass(frozen=True)
class StepContent:
    """What is said of one timestep, in canonical values; and of those before it that passed without an answer.

    Attributes:
        step: the step the client named, None if it means the next one.
        reward: None where none was sent, which counts as 0.
        executed_action: [action_dim], None where the proposed action was executed.
        observation: [*observation_shape].
        missed: the timesteps up to `step - 1` that passed unanswered, oldest first; these have no `missed`.
    """

    step: int | None
    reward: float | None
    executed_action: Actions | None
    observation: Observations
    observed_at: int | None
    missed: tuple[StepContent, ...] = ()

    @classmethod
    def of(cls, request: ActRequest) -> StepContent:
        """The content of an act request.

        Raises:
            InvalidRequest: a number is not finite, or too large for float32; or the missed steps do not lead up
                to this one.
        """
        if not request.missed:  # nearly always
            return said(request, request.step)
        step = request.missed[-1].step + 1 if request.step is None else request.step
        if request.executed_action is None:
            raise InvalidRequest(f"executed_action is missing: nothing was proposed at the missed step {step - 1}")
        return said(request, step, missed=missed_contents(request.missed, step))

    @property
    def earned(self) -> float:
        """The reward, 0 where none was sent."""
        return 0.0 if self.reward is None else self.reward

    @property
    def first(self) -> int | None:
        """The first step it tells of, None if it means the next one."""
        return self.missed[0].step if self.missed else self.step

    def digest(self, step: int) -> bytes:
        """What a repeated request is recognised by; `observed_at`, the deadline and `missed` are no part of it."""
        return content_digest(b"act", step, self.earned, self.executed_action, self.observation)

    def same_as(self, other: StepContent, step: int) -> bool:
        """Whether the other content for `step` says the same."""
        if len(self.missed) != len(other.missed) or self.digest(step) != other.digest(step):
            return False
        first = step - len(self.missed)
        pairs = zip(self.missed, other.missed, strict=True)
        return all(one.digest(first + index) == two.digest(first + index) for index, (one, two) in enumerate(pairs))

    def since(self, step: int) -> tuple[StepContent, ...]:
        """The missed timesteps from `step` on."""
        return tuple(passed for passed in self.missed if passed.step is not None and passed.step >= step)

    def check_shapes(self, config: PolicyConfig, policy: str) -> None:
        """Refuse what the policy cannot take.

        Raises:
            InvalidRequest: naming the shape it has and the one it should have.
        """
        self._check_own_shapes("", config, policy)
        for index, passed in enumerate(self.missed):
            passed._check_own_shapes(f"missed[{index}].", config, policy)

    def _check_own_shapes(self, where: str, config: PolicyConfig, policy: str) -> None:
        check_shape(f"{where}observation", self.observation, config.observation.shape, policy)
        check_shape(f"{where}executed_action", self.executed_action, config.action.shape, policy)

    def check_step(self, config: PolicyConfig, policy: str, step: int) -> None:
        """Refuse a step that this content cannot be for; `step` is the one meant where none was named.

        Raises:
            InvalidRequest: the step is beyond the policy's limit, or it is 0 and tells of a step before it.
        """
        if step >= config.max_timesteps:
            raise InvalidRequest(
                f"step {step} is beyond the limit of policy {policy!r}, max_timesteps is {config.max_timesteps}"
            )
        refuse_past(step, self.reward, self.executed_action)


@dataclass(frozen=True)
class EndContent:
    """One end request in canonical values; the fields are those of `StepContent` and of the request."""

    step: int | None
    reward: float | None
    executed_action: Actions | None
    observation: Observations | None
    terminated: bool
    truncated: bool
    success: bool | None
    missed: tuple[StepContent, ...] = ()

    @classmethod
    def of(cls, request: EndRequest) -> EndContent:
        """The content of a request.

        Raises:
            InvalidRequest: a number is not finite, or the missed steps do not lead up to this one.
        """
        step = request.missed[-1].step + 1 if request.step is None and request.missed else request.step
        return cls(
            step=step,
            reward=number("reward", request.reward),
            executed_action=optional_vector("executed_action", request.executed_action),
            observation=optional_vector("observation", request.observation),
            terminated=request.terminated,
            truncated=request.truncated,
            success=request.success,
            missed=() if step is None else missed_contents(request.missed, step),
        )

    @property
    def earned(self) -> float:
        """The reward, 0 where none was sent."""
        return 0.0 if self.reward is None else self.reward

    def digest(self, step: int) -> bytes:
        """What a repeated request is recognised by."""
        success = None if self.success is None else int(self.success)
        flags = (int(self.terminated), int(self.truncated), success)
        return content_digest(b"end", step, self.earned, self.executed_action, self.observation, *flags)

    def check(self, config: PolicyConfig, policy: str, step: int) -> None:
        """Refuse what does not have the policy's shapes, or tells of a step before step 0.

        Raises:
            InvalidRequest: naming the field.
        """
        refuse_past(step, self.reward, self.executed_action)
        check_shape("observation", self.observation, config.observation.shape, policy)
        check_shape("executed_action", self.executed_action, config.action.shape, policy)
        for passed in self.missed:
            passed.check_shapes(config, policy)


def said(
    request: ActRequest | MissedStep | WindowTimestep,
    step: int | None,
    *,
    where: str = "",
    missed: tuple[StepContent, ...] = (),
) -> StepContent:
    """What a message says of one timestep; `where` is the message's place within its request.

    Raises:
        InvalidRequest: a number is not finite, or too large for float32.
    """
    return StepContent(
        step=step,
        reward=number(f"{where}reward", request.reward),
        executed_action=optional_vector(f"{where}executed_action", request.executed_action),
        observation=vector(f"{where}observation", request.observation),
        observed_at=None if isinstance(request, WindowTimestep) else request.observed_at,
        missed=missed,
    )


def missed_contents(missed: Sequence[MissedStep], step: int) -> tuple[StepContent, ...]:
    """The timesteps that passed unanswered before `step`.

    Raises:
        InvalidRequest: they are not consecutive, do not end with `step - 1`, or one of them says that a missed one
            before it had a proposed action.
    """
    contents = consecutive("missed", missed)
    if contents and contents[-1].step != step - 1:
        raise InvalidRequest(f"missed ends with step {contents[-1].step}, not with the step before step {step}")
    for index, passed in enumerate(contents[1:], 1):
        if passed.executed_action is None:
            before = contents[index - 1].step
            raise InvalidRequest(
                f"missed[{index}].executed_action is missing: nothing was proposed at step {before}"
            )
    return contents


def consecutive(name: str, timesteps: Sequence[MissedStep | WindowTimestep]) -> tuple[StepContent, ...]:
    """The contents of timesteps that follow each other.

    Raises:
        InvalidRequest: they do not, or a number of one of them cannot be used.
    """
    for index, (before, after) in enumerate(pairwise(timesteps), 1):
        if after.step != before.step + 1:
            raise InvalidRequest(f"{name}[{index}] is step {after.step}, but {name}[{index - 1}] is {before.step}")
    contents = tuple(
        said(timestep, timestep.step, where=f"{name}[{index}].") for index, timestep in enumerate(timesteps)
    )
    if contents and contents[0].step == 0:
        refuse_past(0, contents[0].reward, contents[0].executed_action)
    return contents


def refuse_past(step: int, reward: float | None, executed_action: object) -> None:
    """Refuse what tells of a step before step 0.

    Raises:
        InvalidRequest: naming the field.
    """
    if step > 0:
        return
    for name, value in (("reward", reward), ("executed_action", executed_action)):
        if value is not None:
            raise InvalidRequest(f"{name} was sent with step 0, but nothing was executed before it")
