"""Wire: request and answer types of the HTTP API, shared by server and clients.

Requests refuse unknown fields by name and convert nothing ("3" is no step). Answers ignore unknown fields, so
that an older client understands a newer server. Vectors are lists of numbers, in msgpack also arrays
(`lamo.packing`); whether they are finite and have the policy's shape is checked by the service, which knows the
policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from lamo import packing

API_VERSION = "1"

EPISODE_ID_PATTERN = r"^[A-Za-z0-9._~-]{1,128}$"

MIN_TTL_SECONDS, MAX_TTL_SECONDS, DEFAULT_TTL_SECONDS = 10, 604_800, 3600
MAX_LABELS, MAX_LABEL_LENGTH = 16, 256
MAX_POLICY_LENGTH = 256

MAX_NAMES = 64
"""Of one object in a request: more than any has."""
MAX_STEP = 2**31 - 1

MAX_ITEMS = 1024
"""Most items in one request for several episodes."""

MAX_MISSED = 256
"""Most timesteps that one request tells of as passed without an answer."""

MAX_WINDOW = 65_536
"""Most timesteps of a window: more than any policy's context length, which is what the service holds it to."""


def _array_or_list(value: object, lists: ValidatorFunctionWrapHandler) -> object:
    if isinstance(value, np.ndarray):
        return value
    return packing.array_of(value) if packing.is_array(value) else lists(value)


def _listed(value: object, lists: ValidatorFunctionWrapHandler) -> object:
    return packing.array_of(value).tolist() if packing.is_array(value) else lists(value)


def _vectors(
    take: Callable[[object, ValidatorFunctionWrapHandler], object],
) -> Callable[[object, GetCoreSchemaHandler], CoreSchema]:
    """The schema of vectors. JSON has lists only, and they are read without a detour through Python."""

    def schema(source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        lists = handler(Annotated[list[float], FailFast()])  # a megabyte has room for half a million faults
        wrapped = core_schema.no_info_wrap_validator_function(take, lists)
        return core_schema.json_or_python_schema(json_schema=lists, python_schema=wrapped)

    return schema


Vector = Annotated[list[float], GetPydanticSchema(_vectors(_listed))]
SentVector = Annotated[list[float] | packing.Numbers, GetPydanticSchema(_vectors(_array_or_list))]
EpisodeId = Annotated[str, Field(pattern=EPISODE_ID_PATTERN)]
Step = Annotated[int, Field(ge=0, le=MAX_STEP)]
Label = Annotated[str, Field(max_length=MAX_LABEL_LENGTH)]


def _few(value: object) -> object:
    """Refuse a flood of names at once: each would be a fault of its own, with a report."""
    if isinstance(value, dict) and len(value) > MAX_NAMES:
        raise ValueError(f"{len(value)} names are too many")
    return value


Labels = Annotated[dict[Label, Label], BeforeValidator(_few)]


class Request(BaseModel):
    """A message to the service."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class RareRequest(Request):
    """A message that is not sent at every step, and read by FastAPI, which reports every fault in it."""

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, value: object) -> object:
        return _few(value)


class Answer(BaseModel):
    """A message from the service."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class StartRequest(RareRequest):
    """Start an episode. Everything may be left out where one policy is served."""

    policy: str | None = Field(
        default=None,
        max_length=MAX_POLICY_LENGTH,
        description='"name" or "name@revision"; may be left out if one is served',
    )
    target_return: float | None = Field(
        default=None, description="raw; the policy's first target return if left out"
    )
    ttl_seconds: int = Field(default=DEFAULT_TTL_SECONDS, ge=MIN_TTL_SECONDS, le=MAX_TTL_SECONDS)
    labels: Labels = Field(default_factory=dict, max_length=MAX_LABELS)


class MissedStep(Request):
    """A timestep that passed at the robot without an answer. It is recorded without inference."""

    step: Step
    observation: SentVector = Field(description="raw, in the policy's observation shape")
    reward: float | None = Field(default=None, description="what the action of step - 1 earned; none at step 0")
    executed_action: SentVector | None = Field(
        default=None, description="the action really executed at step - 1; must be said if that was missed too"
    )
    observed_at: int | None = Field(default=None, ge=0, le=2**63 - 1, description="Unix time in ns")


Missed = Annotated[
    list[MissedStep],
    FailFast(),
    Field(max_length=MAX_MISSED, description="timesteps that passed without an answer, the last one step - 1"),
]


class ActRequest(Request):
    """One step of an episode. The step is the idempotency key: the same request again is harmless."""

    observation: SentVector = Field(description="raw, in the policy's observation shape")
    step: Step | None = Field(default=None, description="from 0; the next one is meant if left out")
    reward: float | None = Field(default=None, description="what the action of step - 1 earned; none at step 0")
    executed_action: SentVector | None = Field(
        default=None,
        description="the action really executed at step - 1, if not the proposed one; none at step 0, "
        "and must be said if step - 1 was missed",
    )
    missed: Missed = []
    deadline_ms: float | None = Field(
        None, gt=0, description="from receipt; 504 if inference has not started by then"
    )
    observed_at: int | None = Field(
        default=None, ge=0, le=2**63 - 1, description="Unix time in ns; stored, not compared"
    )


class ActItem(ActRequest):
    """One step of one of several episodes."""

    episode_id: EpisodeId


class ActTogetherRequest(Request):
    """One step of each of several episodes; each stands alone."""

    items: Annotated[list[ActItem], FailFast()] = Field(max_length=MAX_ITEMS)


class EndRequest(RareRequest):
    """End an episode with the step that would come next."""

    step: Step | None = Field(
        default=None, description="the step that would come next; that one is meant if left out"
    )
    reward: float | None = Field(default=None, description="what the last action earned")
    observation: SentVector | None = Field(default=None, description="what the environment showed at the end")
    executed_action: SentVector | None = Field(
        default=None, description="the last action executed, if not the proposed one"
    )
    missed: Missed = []
    terminated: bool = False
    truncated: bool = False
    success: bool | None = None

    @model_validator(mode="after")
    def _one_ending(self) -> EndRequest:
        if self.terminated and self.truncated:
            raise ValueError("an episode is either terminated or truncated, not both")
        return self


class WindowTimestep(Request):
    """One of the last timesteps of an episode, as its client remembers it."""

    step: Step
    observation: SentVector = Field(description="as it was sent")
    reward: float | None = Field(default=None, description="as it was sent")
    executed_action: SentVector | None = Field(default=None, description="as it was sent")
    action: SentVector | None = Field(
        default=None, description="as it was answered; none if the timestep was missed"
    )
    return_to_go: float | None = Field(
        default=None,
        description="as it was answered: what makes the actions to come the same bits; else it is computed",
    )


class WindowRequest(RareRequest):
    """Give a lost episode its last timesteps back."""

    policy: str = Field(max_length=MAX_POLICY_LENGTH, description="name, without a revision")
    revision: str | None = Field(default=None, description="that it was started with; the served one if left out")
    target_return: float = Field(description="raw")
    episode_return: float = Field(description="sum of the rewards up to the last of these timesteps; raw")
    ttl_seconds: int = Field(default=DEFAULT_TTL_SECONDS, ge=MIN_TTL_SECONDS, le=MAX_TTL_SECONDS)
    labels: Labels = Field(default_factory=dict, max_length=MAX_LABELS)
    timesteps: Annotated[list[WindowTimestep], FailFast()] = Field(
        min_length=1, max_length=MAX_WINDOW, description="at most K, consecutive, the last one answered"
    )


class EpisodeState(Answer):
    """Where an episode stands."""

    episode_id: str
    policy: str
    revision: str
    hop: int
    dtype: str
    target_return: float
    return_to_go: float
    episode_return: float
    committed_step: int
    expected_step: int
    labels: dict[str, str]
    ttl_seconds: int | None = Field(
        default=None, description="from its last step until it expires; none from an older service"
    )
    expires_at: float
    ended: bool


class Timing(Answer):
    """Where the time of one act went, in milliseconds; a replayed act has no inference of its own."""

    queue_ms: float
    recall_ms: float
    infer_ms: float
    commit_ms: float
    total_ms: float
    batch_size: int


class ActAnswer(Answer):
    """The next action."""

    episode_id: str
    step: int
    action: Vector
    return_to_go: float
    policy: str
    revision: str
    committed_step: int
    replayed: bool
    clipped: list[int] = Field(description="indices of the action held at a bound")
    observation_zscore: float = Field(
        description="largest deviation from the training data, in standard deviations"
    )
    timing: Timing


class Problem(Answer):
    """Why there is no other answer: an RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    retryable: bool
    committed_step: int | None = None
    expected_step: int | None = None
    retry_after_ms: int | None = None
    request_id: str | None = None
    trace_id: str | None = None


class ActOutcome(Answer):
    """What came of one item: status 200 and the action, or another status and why."""

    status: int
    body: ActAnswer | Problem


class ActTogetherAnswer(Answer):
    """One outcome per item, in the order of the items."""

    items: list[ActOutcome]


class EpisodeSummary(Answer):
    """What an ended episode came to."""

    episode_id: str
    length: int
    episode_return: float
    target_return: float
    terminated: bool
    truncated: bool
    success: bool | None


class ObservationInfo(Answer):
    """What a policy takes."""

    shape: list[int]
    dtype: str
    names: list[str] | None = None
    units: list[str] | None = None
    mean: Vector
    std: Vector


class ActionInfo(Answer):
    """What a policy answers."""

    shape: list[int]
    dtype: str = "float32"
    low: Vector
    high: Vector
    names: list[str] | None = None
    units: list[str] | None = None


class ReferenceReturnsInfo(Answer):
    """The raw returns that normalized scores 0 and 100 stand for."""

    random: float
    expert: float


class PolicyInfo(Answer):
    """A served policy."""

    name: str
    revision: str
    task: str
    observation: ObservationInfo
    action: ActionInfo
    context_length: int
    hop: int
    dtype: str
    return_scale: float
    target_returns: list[float]
    max_timesteps: int
    environment: str | None = None
    step_seconds: float | None = None
    reference_returns: ReferenceReturnsInfo | None = None


class PolicyList(Answer):
    """All served policies."""

    api_version: str
    server_version: str
    policies: list[PolicyInfo]


class Health(Answer):
    """What a probe says."""

    status: str
    detail: str | None = None
