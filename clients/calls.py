"""Calls: what a client sends for each request of the HTTP API, and how the answer is read. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ValidationError

from clients.encoding import Encoding, decode
from lamo.errors import InvalidRequest, ServiceError, Unavailable, UnreadableAnswer
from lamo.wire import (
    ActAnswer,
    ActItem,
    ActRequest,
    ActTogetherAnswer,
    ActTogetherRequest,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    MissedStep,
    PolicyInfo,
    PolicyList,
    Request,
    StartRequest,
    WindowRequest,
    WindowTimestep,
)

AnswerT = TypeVar("AnswerT", bound=BaseModel | None)
RequestT = TypeVar("RequestT", bound=Request)

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

MOST_DIGITS = 6
"""Of seconds to wait: more than eleven days is no time that a service asks for."""

GATEWAY_TROUBLE = (502, 503, 504)
"""What a proxy answers when the service behind it is away: worth the same request again."""


@dataclass(frozen=True)
class Call(Generic[AnswerT]):
    """One request of the API; sending it twice is as good as once.

    Attributes:
        answer: what the answer's body is, None where it has none.
        message: what is sent, None where nothing is.
    """

    method: str
    path: str
    answer: type[AnswerT] | None = None
    message: Request | None = None

    def request(
        self, url: str, seconds: float, encoding: Encoding = Encoding.JSON, headers: Mapping[str, str] = NO_HEADERS
    ) -> httpx.Request:
        """This call to the service at `url`, with further headers, for one try of at most so many seconds.

        Raises:
            InvalidRequest: it cannot be written in this encoding.
        """
        return httpx.Request(
            self.method,
            url + self.path,
            headers=headers if self.message is None else {"content-type": encoding.media_type, **headers},
            content=encoding.write(self.message) if self.message is not None else None,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)},
        )

    def read(self, status: int, headers: Mapping[str, str], content: bytes) -> AnswerT:
        """The answer to this call.

        Raises:
            ServiceError: the service answered an error: its own class.
            UnreadableAnswer: it answered something else than the contract says.
        """
        if not 200 <= status < 300:
            raise read_error(status, headers, content)
        if self.answer is None:
            return cast(AnswerT, None)
        try:
            return cast(AnswerT, decode(cast(type[BaseModel], self.answer), headers, content))
        except ValueError as error:
            reason = _first_reason(error) if isinstance(error, ValidationError) else str(error)
            raise UnreadableAnswer(
                f"{self.method} {self.path} was answered {status} with {_excerpt(content)}, "
                f"which is no {self.answer.__name__}: {reason}"
            ) from error


def list_policies() -> Call[PolicyList]:
    """What is served."""
    return Call("GET", "/policies", PolicyList)


def describe_policy(name: str) -> Call[PolicyInfo]:
    """One served policy."""
    return Call("GET", f"/policies/{quote(name, safe='@')}", PolicyInfo)


def start_episode(
    episode_id: str,
    policy: str | None,
    target_return: float | None,
    ttl_seconds: int | None,
    labels: Mapping[str, str] | None,
) -> Call[EpisodeState]:
    """Start an episode under the client's own id, so that a repeated start leaves no orphan."""
    fields = {"policy": policy, "target_return": target_return, "ttl_seconds": ttl_seconds, "labels": labels}
    return Call("PUT", _episode_path(episode_id), EpisodeState, _message(StartRequest, fields))


def act(episode_id: str, request: ActRequest) -> Call[ActAnswer]:
    """One step."""
    return Call("POST", f"{_episode_path(episode_id)}/act", ActAnswer, request)


def act_request(
    step: int,
    observation: ArrayLike,  # [*observation_shape]
    reward: float | None,
    executed_action: ArrayLike | None,  # [action_dim]
) -> ActRequest:
    """What is said of one step."""
    return _message(ActRequest, _step_fields(step, observation, reward, executed_action))


def item(
    episode_id: str,
    step: int,
    observation: ArrayLike,  # [*observation_shape]
    reward: float | None,
    executed_action: ArrayLike | None,  # [action_dim]
) -> ActItem:
    """One step of one of several episodes."""
    fields = _step_fields(step, observation, reward, executed_action)
    return _message(ActItem, {"episode_id": episode_id, **fields})


def missed_step(
    step: int,
    observation: ArrayLike,  # [*observation_shape]
    reward: float | None,
    executed_action: ArrayLike | None,  # [action_dim]
) -> MissedStep:
    """A timestep that passed without an answer."""
    return _message(MissedStep, _step_fields(step, observation, reward, executed_action))


def act_together(items: Sequence[ActItem]) -> Call[ActTogetherAnswer]:
    """One step of each of several episodes."""
    message = ActTogetherRequest.model_construct(_fields_set={"items"}, items=list(items))
    return Call("POST", "/act", ActTogetherAnswer, message)


def end_episode(
    episode_id: str,
    step: int,
    *,
    reward: float | None,
    executed_action: ArrayLike | None,  # [action_dim]
    terminated: bool,
    truncated: bool,
    success: bool | None,
    missed: Sequence[MissedStep] = (),
) -> Call[EpisodeSummary]:
    """End an episode with the step that would come next."""
    fields = {
        "step": step,
        "reward": reward,
        "executed_action": executed_action,
        "terminated": terminated,
        "truncated": truncated,
        "success": success,
    }
    return Call("POST", f"{_episode_path(episode_id)}/end", EpisodeSummary, _message(EndRequest, fields, missed))


def restore_window(
    state: EpisodeState, ttl_seconds: int | None, episode_return: float, timesteps: Sequence[WindowTimestep]
) -> Call[EpisodeState]:
    """Give a lost episode, once started as in `state`, its last timesteps back."""
    fields: dict[str, Any] = {
        "policy": state.policy,
        "revision": state.revision,
        "target_return": state.target_return,
        "episode_return": episode_return,
        "labels": state.labels,
        "timesteps": list(timesteps),
    }
    if ttl_seconds is not None:
        fields["ttl_seconds"] = ttl_seconds
    message = WindowRequest.model_construct(_fields_set=set(fields), **fields)
    return Call("PUT", f"{_episode_path(state.episode_id)}/window", EpisodeState, message)


def episode_state(episode_id: str) -> Call[EpisodeState]:
    """Where an episode stands."""
    return Call("GET", _episode_path(episode_id), EpisodeState)


def delete_episode(episode_id: str) -> Call[None]:
    """Forget an episode."""
    return Call("DELETE", _episode_path(episode_id))


def read_error(status: int, headers: Mapping[str, str], content: bytes) -> ServiceError:
    """The error of an answer that is not 2xx: the service's problem document, or whatever a proxy put there."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict) and "type" in document:
        error = ServiceError.from_problem(status, document)
    else:
        detail = f"the service, or a proxy before it, answered {status} with {_excerpt(content)}"
        known = Unavailable(detail) if status in GATEWAY_TROUBLE else None
        error = known or ServiceError.from_problem(status, {"detail": detail})
    if error.retry_after_ms is None:
        error.retry_after_ms = _retry_after_ms(headers)
    if error.request_id is None:
        error.request_id = headers.get("x-request-id")
    return error


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The header `Retry-After` where it counts seconds; its other form, a date, is left to our own pauses."""
    seconds = headers.get("retry-after", "")
    return int(seconds) * 1000 if seconds.isdecimal() and len(seconds) <= MOST_DIGITS else None


def _episode_path(episode_id: str) -> str:
    return f"/episodes/{quote(episode_id, safe='')}"


def _step_fields(
    step: int, observation: ArrayLike, reward: float | None, executed_action: ArrayLike | None
) -> Mapping[str, Any]:
    return {"step": step, "observation": observation, "reward": reward, "executed_action": executed_action}


def _message(request: type[RequestT], fields: Mapping[str, Any], missed: Sequence[MissedStep] = ()) -> RequestT:
    """The request of these fields; those that are None are left out, and so is `missed` where it is empty."""
    given = {name: _numbers(name, value) for name, value in fields.items() if value is not None}
    if missed:
        given["missed"] = list(missed)
    try:
        return request.model_validate(given)
    except ValidationError as error:
        raise InvalidRequest(f"the request cannot be sent: {_first_reason(error)}") from error


def _numbers(name: str, value: Any) -> Any:
    """Arrays of floats, finite in float32 too, and float32 where they were that already; truth values as Python's.

    They are copies: an environment may show its next observation in the same array.
    """
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (str, int, Mapping)):
        return value
    try:
        array = np.array(value, np.float32 if getattr(value, "dtype", None) == np.float32 else np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name} is not an array of numbers: {error}") from error
    finite = np.isfinite(array)
    if not finite.all():
        raise InvalidRequest(f"{name} is not finite: {int((~finite).sum())} of its {array.size} numbers are not")
    if not array.ndim:
        return float(array)
    if array.dtype != np.float32:
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32))  # what the service computes with
    if not finite.all():
        raise InvalidRequest(
            f"{name} is not finite in float32: {int((~finite).sum())} of its {array.size} numbers are too large"
        )
    return array


def _first_reason(error: ValidationError) -> str:
    reason = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, reason["loc"]))
    return f"{place}: {reason['msg']}" if place else str(reason["msg"])


def _excerpt(content: bytes) -> str:
    text = " ".join(content[:200].decode(errors="replace").split())
    return repr(text[:80]) if text else "an empty body"
