"""Calls: what a client sends for each request of the HTTP API, and how the answer is read. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import ArrayLike
from pydantic import ValidationError

from lamo.errors import InvalidRequest, ServiceError, Unavailable, UnreadableAnswer
from lamo.wire import (
    ActAnswer,
    ActRequest,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    PolicyInfo,
    PolicyList,
    Request,
    StartRequest,
)

AnswerT = TypeVar("AnswerT")
RequestT = TypeVar("RequestT", bound=Request)

GATEWAY_TROUBLE = (502, 503, 504)
"""What a proxy answers when the service behind it is away: worth the same request again."""


@dataclass(frozen=True)
class Call(Generic[AnswerT]):
    """One request of the API; sending it twice is as good as once.

    Attributes:
        parse: what the answer's body says; a pydantic ValidationError if it is not what the contract says.
        content: the JSON body, None where the request has none.
    """

    method: str
    path: str
    parse: Callable[[bytes], AnswerT]
    content: bytes | None = None

    def request(self, url: str, seconds: float) -> httpx.Request:
        """This call to the service at `url`, for one try of at most so many seconds."""
        return httpx.Request(
            self.method,
            url + self.path,
            headers={"content-type": "application/json"} if self.content is not None else None,
            content=self.content,
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
        try:
            return self.parse(content)
        except ValidationError as error:
            raise UnreadableAnswer(
                f"{self.method} {self.path} was answered {status} with {_excerpt(content)}, "
                f"which is no {error.title}: {_first_reason(error)}"
            ) from error


def list_policies() -> Call[PolicyList]:
    """What is served."""
    return Call("GET", "/policies", PolicyList.model_validate_json)


def describe_policy(name: str) -> Call[PolicyInfo]:
    """One served policy."""
    return Call("GET", f"/policies/{quote(name, safe='@')}", PolicyInfo.model_validate_json)


def start_episode(
    episode_id: str,
    policy: str | None,
    target_return: float | None,
    ttl_seconds: int | None,
    labels: Mapping[str, str] | None,
) -> Call[EpisodeState]:
    """Start an episode under the client's own id, so that a repeated start leaves no orphan."""
    fields = {"policy": policy, "target_return": target_return, "ttl_seconds": ttl_seconds, "labels": labels}
    body = _encode(StartRequest, fields)
    return Call("PUT", _episode_path(episode_id), EpisodeState.model_validate_json, body)


def act(
    episode_id: str,
    step: int,
    observation: ArrayLike,  # [*observation_shape]
    reward: float | None,
    executed_action: ArrayLike | None,  # [action_dim]
) -> Call[ActAnswer]:
    """One step."""
    fields = {
        "step": step,
        "observation": observation,
        "reward": reward,
        "executed_action": executed_action,
    }
    return Call(
        "POST", f"{_episode_path(episode_id)}/act", ActAnswer.model_validate_json, _encode(ActRequest, fields)
    )


def end_episode(
    episode_id: str,
    step: int,
    *,
    reward: float | None,
    executed_action: ArrayLike | None,  # [action_dim]
    terminated: bool,
    truncated: bool,
    success: bool | None,
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
    return Call(
        "POST", f"{_episode_path(episode_id)}/end", EpisodeSummary.model_validate_json, _encode(EndRequest, fields)
    )


def episode_state(episode_id: str) -> Call[EpisodeState]:
    """Where an episode stands."""
    return Call("GET", _episode_path(episode_id), EpisodeState.model_validate_json)


def delete_episode(episode_id: str) -> Call[None]:
    """Forget an episode."""
    return Call("DELETE", _episode_path(episode_id), lambda content: None)


def read_error(status: int, headers: Mapping[str, str], content: bytes) -> ServiceError:
    """The error of an answer that is not 2xx: the service's problem document, or whatever a proxy put there."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict) and "type" in document:
        error = ServiceError.from_problem(status, document)
    else:
        detail = f"the service, or a proxy before it, answered {status} with {_excerpt(content)}"
        known = Unavailable(detail) if status in GATEWAY_TROUBLE else None
        error = known or ServiceError.from_problem(status, {"detail": detail})
    if error.retry_after_ms is None:
        error.retry_after_ms = _retry_after_ms(headers)
    return error


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The header `Retry-After` where it counts seconds; its other form, a date, is left to our own pauses."""
    seconds = headers.get("retry-after", "")
    return int(seconds) * 1000 if seconds.isdecimal() else None


def _episode_path(episode_id: str) -> str:
    return f"/episodes/{quote(episode_id, safe='')}"


def _encode(request: type[RequestT], fields: Mapping[str, Any]) -> bytes:
    """The JSON body of a request; fields that are None are left out.

    Python writes a float in the fewest digits that read back as the same float64, so a float32 arrives bit for
    bit as it was.
    """
    given = {name: _numbers(name, value) for name, value in fields.items() if value is not None}
    try:
        return request.model_validate(given).model_dump_json(exclude_unset=True).encode()
    except ValidationError as error:
        raise InvalidRequest(f"the request cannot be sent: {_first_reason(error)}") from error


def _numbers(name: str, value: Any) -> Any:
    """Arrays as lists, numpy's truth values as Python's, and no number that JSON cannot write."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (str, int, Mapping)):
        return value
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name} is not an array of numbers: {error}") from error
    finite = np.isfinite(array)
    if not finite.all():
        raise InvalidRequest(f"{name} is not finite: {int((~finite).sum())} of its {array.size} numbers are not")
    return array.tolist()


def _first_reason(error: ValidationError) -> str:
    reason = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, reason["loc"]))
    return f"{place}: {reason['msg']}" if place else str(reason["msg"])


def _excerpt(content: bytes) -> str:
    text = " ".join(content[:200].decode(errors="replace").split())
    return repr(text[:80]) if text else "an empty body"
