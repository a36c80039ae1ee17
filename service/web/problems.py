"""Problems: every failure as an RFC 9457 document; the one place where errors become answers."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from lamo.errors import (
    Conflict,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    ServiceError,
    Unauthorized,
)
from service.metrics import Metrics
from service.web.arrival import Arrival

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

MAX_FAULTS = 1000
"""Of one body that are looked at to name the first: a megabyte has room for a hundred thousand."""


class Problems:
    """Answers failures and counts them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def handle(self, request: Request, failure: Exception) -> Response:
        """FastAPI's exception handler for every kind of failure."""
        response = self.response(request.state.arrival, failure)
        if response.status_code == MethodNotAllowed.status:
            response.headers["Allow"] = ", ".join(methods_of(request))
        return response

    def response(self, arrival: Arrival, failure: Exception) -> Response:
        """The answer to a request that failed. What was not foreseen goes to the log, not to the client."""
        error = error_of(failure)
        if error is not failure and isinstance(error, InternalError):
            ids = {"request_id": arrival.request_id, "trace_id": arrival.trace.trace_id}
            logger.error("request failed", exc_info=failure, extra=ids)
        headers = {}
        if isinstance(error, Unauthorized):
            headers["WWW-Authenticate"] = "Bearer"
        if error.retry_after_ms is not None:
            headers["Retry-After"] = str(math.ceil(error.retry_after_ms / 1000))
        return Response(json.dumps(self.document(arrival, error)), error.status, headers, MEDIA_TYPE)

    def document(self, arrival: Arrival, error: ServiceError) -> dict[str, str | int | bool]:
        """The problem document of a request, or of one item of it, that is refused; it is counted."""
        arrival.refusals.append(error)
        self._metrics.refusals.labels(error.kind).inc()
        if isinstance(error, Conflict):
            self._metrics.conflicts.inc()
        return error.problem() | {"request_id": arrival.request_id, "trace_id": arrival.trace.trace_id}


def methods_of(request: Request) -> list[str]:
    """The methods that a path takes by any of its routes: RFC 9110, section 15.5.6, asks for them all."""
    return [
        method
        for method in METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


def error_of(failure: Exception) -> ServiceError:
    """The service's own error for whatever went wrong."""
    if isinstance(failure, ServiceError):
        return failure
    if isinstance(failure, RequestValidationError):
        return refusal(failure)
    known = {
        400: MalformedRequest("the body cannot be read as JSON"),
        404: NotFound("there is nothing at this path"),
        405: MethodNotAllowed("this path does not take this method"),
    }
    if isinstance(failure, HTTPException) and failure.status_code in known:
        return known[failure.status_code]
    return InternalError("the service failed; its log has the reason under this request's id")


def refusal(failure: RequestValidationError | ValidationError) -> ServiceError:
    """The first thing that is wrong with a body, in one sentence."""
    if isinstance(failure, ValidationError) and failure.error_count() > MAX_FAULTS:
        return InvalidRequest(f"the body cannot be used: it has {failure.error_count()} faults")
    first: Mapping[str, Any] = failure.errors()[0]
    if first["type"] == "json_invalid":
        where = f" at character {first['loc'][-1]}" if first["loc"] else ""  # pydantic's own words name the place
        return MalformedRequest(f"the body is not JSON: {first['ctx']['error']}{where}")
    where = ".".join(str(part) for part in first["loc"] if part not in ("body", "path"))
    if not where:
        return InvalidRequest(f"the body cannot be used: {_message(first)}")
    if first["type"] == "extra_forbidden":
        return InvalidRequest(f"field {where!r} is unknown")
    if first["type"] == "missing":
        return InvalidRequest(f"field {where!r} is missing")
    return InvalidRequest(f"field {where!r} cannot be used: {_message(first)}")


def _message(first: Mapping[str, Any]) -> str:
    message = str(first["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
