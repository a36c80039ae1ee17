"""The live OpenAPI document, held against the live service by schemathesis: what it says is what is answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from service.processes.app import create_app
from service.settings import Settings
from service.web.server import Server, http_config, listen, url_of

EXAMPLES = 12


@pytest.fixture(scope="module")
def schema(checkpoint_directory: Path, redis_url: str) -> Iterator[object]:
    """The document of a service that listens, from its own mouth."""
    chosen = {"policies": checkpoint_directory.parent, "redis_url": redis_url, "device": "cpu", "batch_limit": 2}
    options = Settings.read(chosen)
    app = create_app(options)
    listener = listen("127.0.0.1", 0)
    config = http_config(app, options, app.intake.refuse)
    server = Server(config, drain=lambda: None, over=lambda: False, drain_seconds=0)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    while not server.started:  # a read of the document would wait for it no longer than ten seconds
        assert thread.is_alive()
        time.sleep(0.01)
    yield schemathesis.openapi.from_url(f"{url_of(listener, options)}/openapi.json")
    server.should_exit = True
    thread.join()


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
