"""What /openapi.json says is valid, and true of every exchange in docs/wire."""

from __future__ import annotations

import re
from typing import Any

import msgpack
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from lamo.packing import MEDIA_TYPE
from service.metrics import Metrics
from service.web.asgi import asgi_app
from service.web.document import EXAMPLES, HEADERS
from service.web.routes import probes, router
from tests.wire_examples import Example, all_examples, read_example

JSON = "application/json"
NOWHERE = ("problem.not-found", "problem.method-not-allowed")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asgi_app(None, Metrics(), keys=None, lifespan=None, max_body_bytes=1).openapi()


def operation(document: dict[str, Any], example: Example) -> dict[str, Any]:
    """What is said of an example's path and method; the literal path before one with a parameter."""
    for path in sorted(document["paths"], key=lambda path: path.count("{")):
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), example.path):
            return document["paths"][path][example.method.lower()]
    raise AssertionError(f"{example.path} is not documented")


def plain(message: Any) -> Any:
    """A schema knows no bytes."""
    if isinstance(message, dict):
        return {name: plain(value) for name, value in message.items()}
    if isinstance(message, list):
        return [plain(part) for part in message]
    return message.hex() if isinstance(message, bytes) else message


def faults(document: dict[str, Any], content: dict[str, Any], media_type: str, message: Any) -> list[str]:
    schema = content[media_type]["schema"] | {"components": document["components"]}
    return [fault.message for fault in Draft202012Validator(schema).iter_errors(plain(message))]


def test_the_document_is_valid_and_has_every_route(document):
    validate(document)
    Draft202012Validator.check_schema(document["components"]["schemas"]["PackedActRequest"])
    described = {(path, method) for path, operations in document["paths"].items() for method in operations}
    assert described == {
        (route.path, method.lower()) for route in (*router.routes, *probes.routes) for method in route.methods
    }
    names = [one["operationId"] for operations in document["paths"].values() for one in operations.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "example", [one for one in all_examples() if one.name not in NOWHERE], ids=lambda example: example.name
)
def test_every_exchange_is_as_the_document_says(document, example):
    described = operation(document, example)
    answer = described["responses"][str(example.status)]
    assert set(example.answer.headers) - {"Content-Type"} <= set(answer["headers"])
    if example.answer.body is not None:
        media_type = example.answer.headers["Content-Type"]
        assert faults(document, answer["content"], media_type, example.answer.body) == []
    if example.answer.packed is not None:
        assert faults(document, answer["content"], MEDIA_TYPE, msgpack.unpackb(example.answer.packed)) == []
    if example.request.body is not None:
        content = described["requestBody"]["content"]
        messages = {JSON: example.request.body, MEDIA_TYPE: msgpack.unpackb(example.request.packed or b"")}
        for media_type, message in messages.items():
            assert bool(faults(document, content, media_type, message)) == ("colour" in str(message))


def test_a_vector_that_is_no_array_is_not_what_the_document_says(document):
    content = operation(document, read_example("act"))["requestBody"]["content"]
    body = read_example("act").request.body
    array = {"dtype": "<f4", "shape": [5], "data": "bytes"}
    for wrong in ({"observation": "left"}, {"observation": array | {"dtype": ">f4"}}, {"colour": 1}, {"step": "1"}):
        assert faults(document, content, MEDIA_TYPE, body | wrong)
    assert faults(document, content, JSON, body | {"observation": array})
    assert not faults(document, content, MEDIA_TYPE, body | {"observation": array})


@pytest.mark.parametrize(("name", "example"), [("put_episode", "start"), ("act", "act"), ("end_episode", "end")])
def test_the_documents_examples_are_those_of_docs_wire(document, name, example):
    assert read_example(example).request.body == EXAMPLES[name]
    described = operation(document, read_example(example))
    assert described["requestBody"]["content"][JSON]["example"] == EXAMPLES[name]
    assert set(HEADERS) == set(document["components"]["headers"])
