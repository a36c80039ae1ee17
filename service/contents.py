"""Contents: what an act or an end request says, as checked numbers in the policy's dtype, and their digest."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamo.config import PolicyConfig
from lamo.errors import InvalidRequest
from lamo.packing import Numbers
from lamo.window import Actions, Observations
from lamo.wire import ActRequest, EndRequest
from service.records import content_digest

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class StepContent:
    """One act request in canonical values.

    Attributes:
        step: the step the client named, None if it means the next one.
        reward: None where none was sent, which counts as 0.
        executed_action: [action_dim], None where the proposed action was executed.
        observation: [*observation_shape].
    """

    step: int | None
    reward: float | None
    executed_action: Actions | None
    observation: Observations
    observed_at: int | None

    @classmethod
    def of(cls, request: ActRequest) -> StepContent:
        """The content of a request.

        Raises:
            InvalidRequest: a number is not finite, or too large for float32.
        """
        return cls(
            step=request.step,
            reward=_number("reward", request.reward),
            executed_action=_optional("executed_action", request.executed_action),
            observation=_vector("observation", request.observation),
            observed_at=request.observed_at,
        )

    @property
    def earned(self) -> float:
        """The reward, 0 where none was sent."""
        return 0.0 if self.reward is None else self.reward

    def digest(self, step: int) -> bytes:
        """What a repeated request is recognised by; `observed_at` and the deadline are no part of it."""
        return content_digest(b"act", step, self.earned, self.executed_action, self.observation)

    def check_shapes(self, config: PolicyConfig, policy: str) -> None:
        """Refuse what the policy cannot take.

        Raises:
            InvalidRequest: naming the shape it has and the one it should have.
        """
        _check_shape("observation", self.observation, config.observation.shape, policy)
        _check_shape("executed_action", self.executed_action, config.action.shape, policy)

    def check_step(self, config: PolicyConfig, policy: str, step: int) -> None:
        """Refuse a step that this content cannot be for; `step` is the one meant where none was named.

        Raises:
            InvalidRequest: the step is beyond the policy's limit, or it is 0 and tells of a step before it.
        """
        if step >= config.max_timesteps:
            raise InvalidRequest(
                f"step {step} is beyond the limit of policy {policy!r}, max_timesteps is {config.max_timesteps}"
            )
        if step == 0:
            _refuse_past(self.reward, self.executed_action)


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

    @classmethod
    def of(cls, request: EndRequest) -> EndContent:
        """The content of a request.

        Raises:
            InvalidRequest: a number is not finite.
        """
        return cls(
            step=request.step,
            reward=_number("reward", request.reward),
            executed_action=_optional("executed_action", request.executed_action),
            observation=_optional("observation", request.observation),
            terminated=request.terminated,
            truncated=request.truncated,
            success=request.success,
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
        if step == 0:
            _refuse_past(self.reward, self.executed_action)
        _check_shape("observation", self.observation, config.observation.shape, policy)
        _check_shape("executed_action", self.executed_action, config.action.shape, policy)


def computable(value: float, return_scale: float) -> bool:
    """Whether a raw return is finite and stays so in float32, the way the policy sees it."""
    return math.isfinite(value) and abs(value / return_scale) <= _LARGEST


def _number(name: str, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise InvalidRequest(f"{name} is {value}, not a finite number")
    return value


def _optional(name: str, values: list[float] | Numbers | None) -> NDArray[np.float32] | None:
    return None if values is None else _vector(name, values)


def _vector(name: str, values: list[float] | Numbers) -> NDArray[np.float32]:
    vector = _rounded(values)
    if not np.isfinite(vector).all():
        wrong = tuple(np.argwhere(~np.isfinite(vector))[0].tolist())
        index = "".join(f"[{place}]" for place in wrong)
        raise InvalidRequest(f"{name}{index} is {np.asarray(values)[wrong]}, not a finite number in float32")
    return vector


def _rounded(values: list[float] | Numbers) -> NDArray[np.float32]:
    """The nearest float32 of each number, the same for a list and an array of them; beyond all of them infinity."""
    if isinstance(values, list):
        return np.frombuffer(
            array("f", values), np.float32
        )  # C's cast: numpy's takes ten times as long to be silent
    if values.dtype == np.float32:
        return values.astype(np.float32)
    with np.errstate(over="ignore"):
        return values.astype(np.float64, copy=False).astype(np.float32)  # integers by way of float64, as in JSON


def _refuse_past(reward: float | None, executed_action: object) -> None:
    for name, value in (("reward", reward), ("executed_action", executed_action)):
        if value is not None:
            raise InvalidRequest(f"{name} was sent with step 0, but nothing was executed before it")


def _check_shape(name: str, vector: NDArray[np.float32] | None, shape: tuple[int, ...], policy: str) -> None:
    if vector is not None and vector.shape != shape:
        raise InvalidRequest(f"{name} has shape {list(vector.shape)}, policy {policy!r} takes {list(shape)}")
