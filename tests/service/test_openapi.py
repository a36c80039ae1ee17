"""The live OpenAPI document, held against the live service by schemathesis: what it says is what is answered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.service.test_process import serving

EXAMPLES = 12


@pytest.fixture(scope="module")
def schema(
    checkpoint_directory: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[object]:
    """The document of a service in a process of its own, from its own mouth."""
    data = tmp_path_factory.mktemp("openapi") / "data"
    options = ("--redis-url", redis_url, "--batch-limit", "2")
    with serving(checkpoint_directory.parent, data, *options) as (_, client):
        yield schemathesis.openapi.from_url(str(client.base_url.join("/openapi.json")))


# schemathesis' own pytest marks need an older pytest: its strategies are asked here for each operation by hand.
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_that_the_document_describes_or_excludes_fails_the_service(schema, mode) -> None:
    statuses = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        statuses[f"{operation.method.upper()} {operation.path}"] = answered(operation.as_strategy(mode))
    assert len(statuses) >= 12
    assert statuses["GET /policies"] <= {200}
    assert statuses["POST /act"]


def answered(cases) -> set[int]:
    """Every status that some of these requests are answered with."""
    seen = set()

    @FEW
    @given(case=cases)
    def call(case: schemathesis.Case) -> None:
        answer = case.call()
        seen.add(answer.status_code)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        assert str(answer.status_code) in case.operation.definition.raw["responses"], case.as_curl_command()
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == ["application/problem+json"]

    with contextlib.suppress(Unsatisfiable):  # where nothing is asked nothing can be wrong
        call()
    return seen
