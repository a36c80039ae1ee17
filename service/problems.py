"""Problems: every failure as an RFC 9457 document; the one place where errors become answers."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from lamo.errors import InternalError, InvalidRequest, LamoError, MalformedRequest, NotFound, ServiceError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def error_of(failure: Exception) -> ServiceError:
    """The service's own error for whatever went wrong."""
    match failure:
        case ServiceError():
            return failure
        case RequestValidationError():
            return _refused_body(failure)
        case HTTPException(status_code=404):
            return NotFound("there is nothing at this path")
        case HTTPException(status_code=400):
            return MalformedRequest("the body cannot be read as JSON")
        case HTTPException():
            return _of_status(failure.status_code, failure.detail)
        case LamoError():
            return InternalError(str(failure))
        case _:
            return InternalError("the service failed; its log has the reason under this request's id")


def problem_response(request_id: str | None, failure: Exception) -> Response:
    """The answer to a request that failed."""
    error = error_of(failure)
    if isinstance(error, InternalError):
        logger.error("request failed", exc_info=failure, extra={"request_id": request_id})
    document = error.problem()
    if request_id is not None:
        document["request_id"] = request_id
    headers = {}
    if isinstance(failure, HTTPException) and failure.headers:
        headers.update(failure.headers)  # 405 names the methods that are allowed
    if error.retry_after_ms is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_ms / 1000))
    return Response(json.dumps(document), document["status"], headers, MEDIA_TYPE)


async def handle(request: Request, failure: Exception) -> Response:
    """FastAPI's exception handler for every kind of failure."""
    return problem_response(getattr(request.state, "request_id", None), failure)


def _of_status(status: int, detail: str) -> ServiceError:
    document = {"detail": detail}
    error = ServiceError.from_problem(status, document)
    if error.status != status:
        error = type("HttpError", (ServiceError,), {"status": status, "kind": "http", "title": detail})(detail)
    return error


def _refused_body(failure: RequestValidationError) -> ServiceError:
    first: dict[str, Any] = failure.errors()[0]
    if first["type"] == "json_invalid":
        return MalformedRequest(f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}")
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    if first["type"] == "extra_forbidden":
        return InvalidRequest(f"field {where!r} is unknown")
    if first["type"] == "missing":
        return InvalidRequest(f"field {where!r} is missing" if where != "the body" else "the body is missing")
    message = str(first["msg"]).removeprefix("Value error, ")
    return InvalidRequest(f"{where}: {message[:1].lower()}{message[1:]}")
