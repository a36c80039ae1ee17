"""Outage: the timesteps that passed at a robot without an answer and are still to be told of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from lamo.errors import InvalidRequest
from lamo.wire import MAX_MISSED, ActRequest, MissedStep, PolicyInfo

RequestT = TypeVar("RequestT", bound=ActRequest)

NUMBERS_PER_REQUEST = 8192
"""Of missed observations and executed actions together: far below the bytes that a service takes in any encoding,
and written in a millisecond or two beside a control loop."""


class Outage:
    """Missed timesteps, oldest first and consecutive; none while all goes well, at most what the policy takes."""

    def __init__(self, policy: PolicyInfo) -> None:
        self._policy = policy
        self._missed: list[MissedStep] = []

    @property
    def steps(self) -> Sequence[MissedStep]:
        """All that are still to be told of."""
        return tuple(self._missed)

    @property
    def numbers(self) -> int:
        """How many numbers their observations and executed actions are."""
        return sum(map(_numbers, self._missed))

    def add(self, passed: MissedStep) -> None:
        """One more passed.

        Raises:
            InvalidRequest: the service would refuse it, and with it everything that is told after it.
        """
        refuse_unfit(passed, passed.step, self._policy)
        self._missed.append(passed)

    def refuse_unsaid(self, executed_action: ArrayLike | None) -> None:
        """Refuse what comes after a missed step and does not say what was executed there.

        Raises:
            InvalidRequest: naming the step.
        """
        if self._missed and executed_action is None:
            raise InvalidRequest(
                f"executed_action is missing: step {self._missed[-1].step} was missed, say what was executed there"
            )

    def recorded(self, step: int) -> None:
        """The service has all steps up to this one."""
        if self._missed:
            del self._missed[: max(0, step + 1 - self._missed[0].step)]

    def told_by(self, request: RequestT) -> RequestT:
        """The request, telling of all missed steps too."""
        return request.model_copy(update={"missed": list(self._missed)}) if self._missed else request

    def portion(self) -> ActRequest | None:
        """The oldest missed steps as a request of their own, while one request cannot carry all; else None."""
        count = self._fitting()
        if count == len(self._missed):
            return None
        last = self._missed[count]
        said = {name: getattr(last, name) for name in last.model_fields_set}
        if count:
            said["missed"] = self._missed[:count]
        return ActRequest.model_construct(_fields_set=set(said), **said)

    def _fitting(self) -> int:
        """How many of the oldest fit into a request, beside the step that it is for.

        Fewer would not do: a request that carried so many may be recorded though its answer was lost. It was for
        the step after them or for an earlier one, and those before that one are recorded without an action.
        """
        numbers = 0
        for count, passed in enumerate(self._missed):
            numbers += _numbers(passed)
            if numbers > NUMBERS_PER_REQUEST or count == MAX_MISSED:
                return count
        return len(self._missed)


def refuse_unfit(said: ActRequest | MissedStep, step: int, policy: PolicyInfo) -> None:
    """Refuse what the policy cannot take as this step, by the service's own rules; its numbers are finite already.

    Raises:
        InvalidRequest: the step is beyond the policy's limit, or 0 and tells of a step before it, or a shape is
            another than the policy's.
    """
    if step >= policy.max_timesteps:
        raise InvalidRequest(
            f"step {step} is beyond the limit of policy {policy.name!r}, max_timesteps is {policy.max_timesteps}: "
            "end the episode and start another"
        )
    if step == 0 and (said.reward is not None or said.executed_action is not None):
        raise InvalidRequest("step 0 came with a reward or an executed action, but nothing was before it")
    _refuse_shape("observation", said.observation, policy.observation.shape, policy)
    if said.executed_action is not None:
        _refuse_shape("executed_action", said.executed_action, policy.action.shape, policy)


def _refuse_shape(name: str, numbers: ArrayLike, shape: Sequence[int], policy: PolicyInfo) -> None:
    if np.shape(numbers) != tuple(shape):
        raise InvalidRequest(
            f"{name} has shape {list(np.shape(numbers))}, policy {policy.name!r} takes {list(shape)}"
        )


def _numbers(passed: MissedStep) -> int:
    executed = () if passed.executed_action is None else passed.executed_action
    return np.size(passed.observation) + np.size(executed)
