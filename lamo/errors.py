"""The one error tree: what can go wrong, under the same names in training, service and clients.

LamoError
├── InputError                something given to a command cannot be used; commands end with exit code 2
│   ├── ConfigError             an option or a configuration value
│   ├── DatasetError            offline data: a file, its layout, its numbers
│   ├── LanguageModelError      a language model that cannot be this trunk
│   ├── CheckpointError         a checkpoint directory
│   └── SimulatorError          a simulator that cannot be made or does not fit the policy
└── ServiceError              what the HTTP API answers; each class carries its status
    ├── MalformedRequest        400  not JSON at all
    ├── Unauthorized            401  no key, or one that is not known
    ├── Forbidden               403  the key's scopes do not include this
    ├── NotFound                404
    │   ├── UnknownEpisode
    │   └── UnknownPolicy
    ├── MethodNotAllowed        405
    ├── RequestTimeout          408  it did not come whole in time; retryable
    ├── Conflict                409
    │   ├── StepConflict          the step is neither the expected one nor recorded
    │   ├── StepInFlight          this step or the one before is being computed; retryable
    │   └── EpisodeExists         PUT on an id that lives with other fields
    ├── EpisodeEnded            410
    ├── BodyTooLarge            413
    ├── UnsupportedMediaType    415
    ├── InvalidRequest          422
    │   └── ContentChanged        a recorded step, asked again with other content
    ├── QueueFull               429  retryable
    ├── OwnerLimit              429  the owner's, not the service's; retryable
    ├── HeadTooLarge            431
    ├── InternalError           500
    │   └── ActionNotFinite       the policy's output was not finite; nothing was committed
    ├── Unavailable             503  retryable
    │   ├── Draining
    │   ├── TooManyConnections
    │   ├── NotReady
    │   ├── RevisionNotLoaded
    │   ├── StoreUnavailable
    │   └── EngineUnavailable
    ├── DeadlineExceeded        504
    ├── ServiceUnreachable      raised by clients only: no answer came
    └── UnreadableAnswer        raised by clients only: what came is no answer of this API

On the wire a ServiceError is an RFC 9457 problem document; `problem` writes it and `from_problem` reads it
back into the same class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

LONGEST_WAIT_MS = 1_000_000_000
"""More than eleven days is no wait that a service asks for; more than 292 years is none that a thread can begin."""


class LamoError(Exception):
    """Root of every error this project raises on purpose. Its message is one sentence a person can act on."""


class InputError(LamoError):
    """Something given to a command cannot be used."""


class ConfigError(InputError):
    """An option or a configuration value cannot be used."""


class DatasetError(InputError):
    """Offline data is missing, laid out differently, or holds numbers that cannot be trained on."""


class LanguageModelError(InputError):
    """A language model cannot become this project's trunk."""


class CheckpointError(InputError):
    """A checkpoint directory is missing, incomplete, or not what its files claim."""


class SimulatorError(InputError):
    """An environment cannot be made, or its spaces do not fit the policy."""


class ServiceError(LamoError):
    """What the HTTP API answers when it does not answer 200.

    Attributes:
        detail: the sentence for a person.
        committed_step: the last step of the episode that is recorded, where known (-1 before the first).
        expected_step: the step the service expects next, where known.
        retry_after_ms: how long a client should wait before it sends the same request again, where known.
        request_id, trace_id: the ids under which the service logged the request, where known.
        retryable: whether the same request again may succeed; a problem document's word overrules the class's.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "The service failed"
    retryable: bool = False

    def __init__(
        self,
        detail: str,
        *,
        committed_step: int | None = None,
        expected_step: int | None = None,
        retry_after_ms: int | None = None,
        request_id: str | None = None,
        trace_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.committed_step = committed_step
        self.expected_step = expected_step
        self.retry_after_ms = retry_after_ms
        self.request_id = request_id
        self.trace_id = trace_id

    def saying(self, detail: str) -> Self:
        """The same error in other words."""
        error = type(self)(detail)
        vars(error).update(vars(self) | {"detail": detail})
        return error

    def problem(self) -> dict[str, str | int | bool]:
        """This error as an RFC 9457 problem document; fields that are not known are left out."""
        document: dict[str, str | int | bool] = {
            "type": f"urn:lamo:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "retryable": self.retryable,
        }
        for name in ("committed_step", "expected_step", "retry_after_ms", "request_id", "trace_id"):
            value = getattr(self, name)
            if value is not None:
                document[name] = value
        return document

    @classmethod
    def from_problem(cls, status: int, document: Mapping[str, object]) -> ServiceError:
        """The error that a problem document describes, as its own class.

        An unknown `type` (a newer server, a proxy) falls back to the class of the status.
        """
        kind = str(document.get("type", "")).rpartition(":")[2]
        error_class = _BY_KIND.get(kind) or _BY_STATUS.get(status) or _unknown_status(status)
        error = error_class(
            str(document.get("detail") or document.get("title") or f"the service answered {status}"),
            committed_step=_integer(document.get("committed_step")),
            expected_step=_integer(document.get("expected_step")),
            retry_after_ms=_wait(document.get("retry_after_ms")),
            request_id=_text(document.get("request_id")),
            trace_id=_text(document.get("trace_id")),
        )
        if isinstance(document.get("retryable"), bool):
            error.retryable = bool(document["retryable"])
        return error

    @classmethod
    def subclasses(cls) -> Iterator[type[Self]]:
        """Every class below this one, nearest first."""
        for child in cls.__subclasses__():
            yield child
            yield from child.subclasses()


class MalformedRequest(ServiceError):
    """The body is not JSON."""

    status, kind, title = 400, "malformed-request", "The request cannot be read"


class Unauthorized(ServiceError):
    """The request names no key, or one that this service does not know."""

    status, kind, title = 401, "unauthorized", "Unauthorized"


class Forbidden(ServiceError):
    """The key is known, but its scopes do not include what the request asks for."""

    status, kind, title = 403, "forbidden", "Forbidden"


class NotFound(ServiceError):
    """What the request names does not exist."""

    status, kind, title = 404, "not-found", "Not found"


class UnknownEpisode(NotFound):
    """The episode was never started, has expired, or belongs to somebody else."""

    kind, title = "unknown-episode", "Unknown episode"


class UnknownPolicy(NotFound):
    """No policy of that name or revision is served."""

    kind, title = "unknown-policy", "Unknown policy"


class MethodNotAllowed(ServiceError):
    """The path exists, but takes another method."""

    status, kind, title = 405, "method-not-allowed", "Method not allowed"


class RequestTimeout(ServiceError):
    """The request did not come whole in time."""

    status, kind, title, retryable = 408, "request-timeout", "Request timeout", True


class Conflict(ServiceError):
    """The request does not fit where the episode stands."""

    status, kind, title = 409, "conflict", "Conflict"


class StepConflict(Conflict):
    """The step is neither the expected one nor one of those recorded."""

    kind, title = "step-conflict", "Step out of order"


class StepInFlight(Conflict):
    """Another request for this episode is being computed; send the same request again."""

    kind, title, retryable = "step-in-flight", "Step in flight", True


class EpisodeExists(Conflict):
    """An episode lives under this id and was started with other fields."""

    kind, title = "episode-exists", "Episode exists"


class EpisodeEnded(ServiceError):
    """The episode has ended; it takes no further acts."""

    status, kind, title = 410, "episode-ended", "Episode ended"


class BodyTooLarge(ServiceError):
    """The request's body is larger than the service accepts."""

    status, kind, title = 413, "body-too-large", "Body too large"


class UnsupportedMediaType(ServiceError):
    """The request's content type is not one the service reads."""

    status, kind, title = 415, "unsupported-media-type", "Unsupported media type"


class InvalidRequest(ServiceError):
    """A field is missing, unknown, of the wrong shape, or not finite."""

    status, kind, title = 422, "invalid-request", "Invalid request"


class ContentChanged(InvalidRequest):
    """A recorded step was sent again with other content."""

    kind, title = "content-changed", "Content changed"


class QueueFull(ServiceError):
    """More requests wait than the service queues."""

    status, kind, title, retryable = 429, "queue-full", "Queue full", True


class OwnerLimit(ServiceError):
    """The owner of the key asks for more than it may."""

    status, kind, title, retryable = 429, "owner-limit", "Owner's limit reached", True


class HeadTooLarge(ServiceError):
    """The request's line and headers are longer, or more, than the service accepts."""

    status, kind, title = 431, "head-too-large", "Request head too large"


class InternalError(ServiceError):
    """The unforeseen; the log has the traceback under the request id."""


class ActionNotFinite(InternalError):
    """The policy's output was not finite; nothing was committed."""

    kind, title = "action-not-finite", "Action not finite"


class Unavailable(ServiceError):
    """The service cannot take the request now."""

    status, kind, title, retryable = 503, "unavailable", "Unavailable", True


class Draining(Unavailable):
    """The service is shutting down."""

    kind, title = "draining", "Shutting down"


class TooManyConnections(Unavailable):
    """More clients are connected than the service takes."""

    kind, title = "too-many-connections", "Too many connections"


class NotReady(Unavailable):
    """The policies are still being loaded and warmed up."""

    kind, title = "not-ready", "Not ready"


class RevisionNotLoaded(Unavailable):
    """The episode stays with a revision of its policy that this service does not hold."""

    kind, title = "revision-not-loaded", "Revision not loaded"


class StoreUnavailable(Unavailable):
    """The episode store did not answer; the step may or may not be committed: send the same request again."""

    kind, title = "store-unavailable", "Episode store unavailable"


class EngineUnavailable(Unavailable):
    """The engine process went away; the step may or may not be committed: send the same request again."""

    kind, title = "engine-unavailable", "Engine unavailable"


class DeadlineExceeded(ServiceError):
    """The request's deadline passed before inference started; nothing was committed."""

    status, kind, title = 504, "deadline-exceeded", "Deadline exceeded"


class ServiceUnreachable(ServiceError):
    """No answer came: nobody listens there, or the client's deadline passed first."""

    status, kind, title, retryable = 503, "service-unreachable", "Service unreachable", True


class UnreadableAnswer(ServiceError):
    """What came is no answer of this API: another server listens there, or a newer one."""

    kind, title = "unreadable-answer", "Unreadable answer"


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _wait(value: object) -> int | None:
    """Milliseconds to wait, where they are that."""
    milliseconds = _integer(value)
    return None if milliseconds is None or not 0 <= milliseconds <= LONGEST_WAIT_MS else milliseconds


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _unknown_status(status: int) -> type[ServiceError]:
    """A class for a status this tree has no name for: a proxy's 502 is worth another try, its 407 is not."""
    return Unavailable if status >= 502 else ServiceError


_BY_KIND = {error.kind: error for error in ServiceError.subclasses() if "kind" in vars(error)}
_BY_STATUS: dict[int, type[ServiceError]] = {}
for _error in ServiceError.subclasses():
    _BY_STATUS.setdefault(_error.status, _error)
del _error
