"""Document: what `/openapi.json` says beyond what FastAPI finds out: msgpack, problems, headers and examples."""

from __future__ import annotations

from typing import Any, Final

from lamo import packing
from lamo.errors import ServiceError, ServiceUnreachable, UnreadableAnswer
from lamo.wire import Problem
from service.web import problems
from service.web.bodies import JSON

Document = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"

DESCRIPTION: Final = f"""\
A policy's actions for the steps of episodes. `step` is the idempotency key: whatever fails, send the same request
again.

Bodies are JSON or `{packing.MEDIA_TYPE}`; an answer comes in the request's encoding unless `Accept` says otherwise.
Every refusal is a problem document, in JSON. A body that comes where none is taken is refused by the same rules as
others (400, 413, 415).
"""

SERVERS: Final = [{"url": "/", "description": "this service"}]

ARRAY: Final = {
    "title": "Array",
    "type": "object",
    "description": "An array in msgpack: its numbers as they lie in memory, row by row.",
    "properties": {
        "dtype": {"type": "string", "enum": list(packing.DTYPES), "description": "< is little-endian"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": packing.MAX_DIMENSIONS},
        "data": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "of msgpack's type binary, exactly as many bytes as dtype and shape say",
        },
    },
    "required": ["dtype", "shape", "data"],
    "additionalProperties": False,
}

HEADERS: Final = {
    "X-Request-Id": "the request's, or one that the service chose; its log has the request under it",
    "Traceparent": "the request's trace (W3C Trace Context), or a new one, and the service's span in it",
    "Server-Timing": "where the time of the act went",
    "Www-Authenticate": "Bearer: this service asks for a key",
    "Location": "the episode's path",
    "Retry-After": "seconds, where there is something to wait for; retry_after_ms in the document says it finer",
}

EXAMPLES: Final = {
    "put_episode": {
        "policy": "arm",
        "target_return": 20.0,
        "ttl_seconds": 600,
        "labels": {"cell": "north"},
    },
    "act": {"observation": [0.5, -0.875, 2.0, 0.25, 0.0], "step": 1, "reward": 0.5},
    "end_episode": {"step": 9, "reward": 1.5, "terminated": False, "truncated": True, "success": True},
}
"""Requests by operation. These and all others are in docs/wire, which a test holds these to."""

_WITH_BODY = (400, 413, 415, 422)
_ALWAYS = (401, 403, 408, 431, 500, 503)
_RETRIED = (409, 429, 503)


def refusals(*statuses: int, body: bool = False) -> dict[int | str, Document]:
    """FastAPI's `responses` of a route: problem documents of these statuses, and of those that every route has.

    Args:
        body: whether the route takes one, and so refuses one.
    """
    return {status: _refusal(status) for status in sorted({*statuses, *_ALWAYS, *(_WITH_BODY if body else ())})}


def completed(document: Document) -> Document:
    """FastAPI's document with the msgpack form of every body and answer, examples, and the headers of answers."""
    schemas = document["components"]["schemas"]
    taken = _Packed(schemas, ("observation", "executed_action", "action"), lists=True)
    given = _Packed(schemas, ("action",), lists=False)
    for operations in document["paths"].values():
        for operation in operations.values():
            name, answers = operation["operationId"], operation["responses"]
            taken.add_to(operation.get("requestBody", {}))
            if name in EXAMPLES:
                operation["requestBody"]["content"][JSON]["example"] = EXAMPLES[name]
            if "HTTPValidationError" in str(answers.get("422")):
                del answers["422"]  # FastAPI's guess for every path with a parameter
            for status, answer in answers.items():
                given.add_to(answer)
                answer["headers"] = {
                    header: {"$ref": f"#/components/headers/{header}"} for header in _headers(name, int(status))
                }
    kept = {name: schema for name, schema in schemas.items() if "ValidationError" not in name}
    document["components"]["schemas"] = kept | taken.schemas | given.schemas | {"Array": ARRAY}
    document["components"]["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()
    }
    return document


class _Packed:
    """Schemas of messages in msgpack: those of JSON, but with arrays where vectors are.

    Attributes:
        schemas: those that differ, by name.
    """

    def __init__(self, in_json: Document, vectors: tuple[str, ...], *, lists: bool) -> None:
        self.schemas: Document = {}
        self._in_json = in_json
        self._vectors = vectors
        self._lists = lists

    def add_to(self, part: Document) -> None:
        """Give a body or an answer that may be JSON its other form."""
        content = part.get("content", {})
        if JSON in content:
            content[packing.MEDIA_TYPE] = {"schema": self._of(content[JSON]["schema"])}

    def _of(self, schema: Any, field: str = "") -> Any:
        if isinstance(schema, list):
            return [self._of(part, field) for part in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            return self._reference(schema["$ref"].removeprefix(SCHEMAS))
        if field in self._vectors and schema.get("type") == "array":
            told = {key: schema[key] for key in ("title", "description") if key in schema}
            array = {"$ref": SCHEMAS + "Array"}
            either = {"anyOf": [array, {"type": "array", "items": schema["items"]}]}
            return told | (either if self._lists else array)
        return {
            key: {name: self._of(property_, name) for name, property_ in part.items()}
            if key == "properties"
            else self._of(part, field)
            for key, part in schema.items()
        }

    def _reference(self, name: str) -> Document:
        packed = self._of(self._in_json[name])
        if packed == self._in_json[name]:
            return {"$ref": SCHEMAS + name}
        self.schemas[f"Packed{name}"] = packed | {"title": f"Packed{name}"}
        return {"$ref": f"{SCHEMAS}Packed{name}"}


def _refusal(status: int) -> Document:
    of_clients = (ServiceUnreachable, UnreadableAnswer)
    titles = [
        error.title for error in ServiceError.subclasses() if error.status == status and error not in of_clients
    ]
    schema = {"$ref": SCHEMAS + Problem.__name__}
    return {"description": "; ".join(dict.fromkeys(titles)), "content": {problems.MEDIA_TYPE: {"schema": schema}}}


def _headers(operation: str, status: int) -> list[str]:
    names = ["X-Request-Id", "Traceparent"]
    if status == 401:
        names.append("Www-Authenticate")
    elif status in _RETRIED:
        names.append("Retry-After")
    elif status in (200, 201) and operation in ("start_episode", "put_episode"):
        names.append("Location")
    elif status == 200 and operation == "act":
        names.append("Server-Timing")
    return names
